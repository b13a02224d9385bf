"""Containers that outlive the process that started them, found by a lock that is no longer held.

A container is no child of its client. Where the caller and its watchdog end at the same moment, as when the worker's
own container is killed, it goes on. Its name is therefore kept as that of a file which the two hold locked. The kernel
opens the lock when both are gone, and knows it in every container that has the file. The next conversion finds it open,
and stops the container.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bevformer_lib.files import try_lock

_log = logging.getLogger(__name__)

SUFFIX: Final = ".lock"
_NOT_THERE: Final = ("no such container", "is not running", "no container with name")  # docker, and podman in its place


@contextlib.contextmanager
def holding(lock: Path) -> Iterator[int]:
    """Make a lock file and hold it, until the block ends and every process that inherited its descriptor has ended.

    Args:
        lock: file that does not exist yet; its stem is the container's name.
    """
    # It gets its name once it is locked, or another conversion could find it open.
    unlocked = lock.with_suffix(".new")
    descriptor = os.open(unlocked, os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o600)
    try:
        try_lock(descriptor)  # nobody else knows it
        unlocked.rename(lock)
        yield descriptor
    finally:
        unlocked.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def stop_orphaned(docker: Path, folder: Path, prefix: str) -> None:
    """Stop the containers whose lock files in ``folder`` are not held; what can't be stopped is left for next time."""
    for lock in sorted(folder.glob(f"{prefix}*{SUFFIX}")):
        # Another user's file, one that is held, and one that is gone by now are no concern of ours.
        with contextlib.suppress(OSError), lock.open("rb") as file:
            if not try_lock(file):
                continue
            command = (str(docker), "kill", lock.stem)
            killed = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
            )
            if killed.returncode == 0:
                _log.warning("stopped container %s, left behind by a process that is gone", lock.stem)
            if killed.returncode == 0 or any(words in killed.stderr.lower() for words in _NOT_THERE):
                lock.unlink()
