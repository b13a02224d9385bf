"""Folders for unfinished work, which outlive a killed process and are told from those of a living one by their lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bevformer_lib.errors import BevformerError
from bevformer_lib.files import try_lock

_LOCK_SUFFIX = ".lock"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give an empty folder where the system keeps temporary files, removed when the block ends.

    What killed processes of this user left there is removed first.

    Raises:
        BevformerError: another user took the place where they lie.
    """
    parent = Path(tempfile.gettempdir()) / f"bevformer-{os.getuid()}"
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if parent.is_symlink() or parent.stat().st_uid != os.getuid():
        raise BevformerError(f"{parent} belongs to another user; remove it, or set TMPDIR to another folder")
    remove_abandoned(parent)
    with scratch_folder(parent) as folder:
        yield folder


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Give an empty folder under ``parent``, removed when the block ends.

    A lock beside it is held meanwhile. The kernel drops the lock when the process dies, whatever killed it.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / uuid.uuid4().hex
    try:
        with _held(_lock_of(folder)):
            folder.mkdir()
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _lock_of(folder).unlink(missing_ok=True)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a lock that lies under its name: a search for abandoned ones may have removed it before it was held."""
    while True:
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_named(lock.fileno(), path):
                yield
                return


def remove_abandoned(parent: Path) -> int:
    """Remove the folders under ``parent`` whose process is gone, and locks without one; return how many there were."""
    if not parent.is_dir():
        return 0
    names = {path.name.removesuffix(_LOCK_SUFFIX) for path in parent.iterdir()}
    return sum(_remove_if_abandoned(parent / name) for name in sorted(names))


def _remove_if_abandoned(folder: Path) -> bool:
    with _lock_of(folder).open("a") as lock:
        if not try_lock(lock):
            return False
        there = folder.is_dir()
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(lock.name)  # noqa: PTH108 (the name of the locked file, as opened)
        return there


def _is_named(descriptor: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK_SUFFIX)
