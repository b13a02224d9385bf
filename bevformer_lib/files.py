"""Files: written under a temporary name and renamed when whole, read by digest."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from bevformer_lib.errors import OutputError

_CHUNK_BYTES: Final = 1 << 20
FULL_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the operating system says where nothing more can be written."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it to ``path`` when the block ends well, remove it otherwise.

    The temporary name keeps the suffix of ``path``, since writers choose formats by it. Works for a file and for a
    folder (a folder must not exist yet under the final name). An :class:`OSError` from the block names the final path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.partial{path.suffix}")
    try:
        yield temporary
        if temporary.is_file():
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        _name_final_path(error, temporary, path)
        raise
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _name_final_path(error: OSError, temporary: Path, path: Path) -> None:
    """Let an error name what the user asked for: not the temporary name, and not nothing, as a full disk does."""
    if error.filename is None:
        if error.errno in FULL_DISK:
            error.filename = str(path)
    elif str(error.filename).startswith(str(temporary)):
        error.filename = str(path) + str(error.filename)[len(str(temporary)) :]
        error.filename2 = None


def try_lock(file: int | IO[Any]) -> bool:
    """Lock an open file against every other process until it is closed, unless another one has it; say which."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def require_writable_folder(folder: Path) -> None:
    """Find out before the work, not after it, whether a folder can be written to, or made; nothing is left behind.

    Raises:
        OutputError: it can't.
    """
    try:
        existing = folder
        while not existing.exists():
            existing = existing.parent
        if not existing.is_dir():
            raise OutputError(f"{folder}: {existing} is a file, not a folder; choose another output")
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"{folder}: can't be written to ({reason}); choose another output, or change its permissions"
        ) from error


def require_writable_file(path: Path) -> None:
    """Find out before the work, not after it, whether a file can be written under ``path``, new or in place of another.

    Raises:
        OutputError: it can't.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file to write")
    require_writable_folder(path.parent)


def require_new_file(path: Path) -> None:
    """Find out before the work whether a file can be written under ``path``, which must not exist yet.

    Raises:
        OutputError: it exists, or it can't be written.
    """
    if path.exists():
        raise OutputError(f"{path} exists already; choose another name or remove it first")
    require_writable_folder(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as JSON atomically: indented, keys in the given order, NaN refused."""
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_of_file(path: Path) -> str:
    """Return the sha256 (hex) of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
