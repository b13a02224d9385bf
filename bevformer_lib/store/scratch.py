"""Folders for unfinished work, which outlive a killed process and are told from those of a living one by their lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK_SUFFIX = ".lock"


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Give an empty folder under ``parent``, removed when the block ends.

    A lock beside it is held meanwhile. The kernel drops the lock when the process dies, whatever killed it.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / uuid.uuid4().hex
    with _lock_of(folder).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _lock_of(folder).unlink(missing_ok=True)


def remove_abandoned(parent: Path) -> int:
    """Remove the folders under ``parent`` whose process is gone; return how many there were."""
    if not parent.is_dir():
        return 0
    return sum(_remove_if_abandoned(folder) for folder in sorted(parent.iterdir()) if folder.is_dir())


def _remove_if_abandoned(folder: Path) -> bool:
    with contextlib.suppress(BlockingIOError), _lock_of(folder).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(lock.name)  # noqa: PTH108 (the name of the locked file, as opened)
        return True
    return False


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK_SUFFIX)
