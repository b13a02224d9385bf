"""One board, one run."""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bevformer_lib.store.open import cache_folder

_LOOK_SECONDS: Final = 0.5

_log = logging.getLogger(__name__)


@contextmanager
def the_board() -> Iterator[None]:
    """Keep this machine's NPU to the block; waits while another run has it.

    The pool's concurrency limit decides who gets the board. This lock is for what the server can't see: a run whose
    worker was killed, and which still computes. The kernel releases it when its holder is gone, however it went.
    """
    path = cache_folder() / "board.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        if not _try(lock.fileno()):
            _log.warning("another run uses this board; waiting for its end")
            while not _try(lock.fileno()):
                time.sleep(_LOOK_SECONDS)
        yield


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
