"""Digests of files, remembered as long as the file system says that a file was not touched."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from pathlib import Path

from bevformer_lib.files import sha256_of_file

_SETTLED_NS = 100_000_000
"""A file touched so shortly before it was read may change again within one tick of its time stamp: not remembered."""

_SCHEMA = "CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, sha256 TEXT NOT NULL)"


class DigestCache:
    """Answers :meth:`digest` from memory when size, modification time, change time and inode of a file are the same.

    Any ordinary write moves at least the change time, which no program can set back, so gigabytes of unchanged files
    are not read again. What this can't see is a disk that rots beneath the file system; for that there is
    ``digest(path, trust=False)``.

    The memory is a SQLite file that several threads and processes may share. It is only a cache: when it can't be read
    or written, files are read instead.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = _connect(path)

    def digest(self, path: Path, *, trust: bool = True) -> str:
        """Return the sha256 (hex) of a file's content.

        Args:
            path: the file.
            trust: whether a remembered digest may answer; ``False`` always reads the content.

        Raises:
            OSError: the file can't be read.
        """
        name = str(path.absolute())
        before = _stamp(path)
        if trust and (known := self._lookup(name, before)) is not None:
            return known
        started_ns = time.time_ns()
        digest = sha256_of_file(path)
        status = path.stat()
        settled = started_ns - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS
        if settled and _stamp(path) == before:
            self._remember(name, before, digest)
        return digest

    def _lookup(self, name: str, stamp: str) -> str | None:
        with self._lock, contextlib.suppress(sqlite3.Error):
            query = "SELECT sha256 FROM digests WHERE path = ? AND stamp = ?"
            row = self._connection.execute(query, (name, stamp)).fetchone()
            return None if row is None else str(row[0])
        return None

    def _remember(self, name: str, stamp: str, digest: str) -> None:
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._connection.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (name, stamp, digest))


def _stamp(path: Path) -> str:
    status = os.stat(path)  # noqa: PTH116 (one call that follows links, for a file that must exist)
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_dev}:{status.st_ino}"


def _connect(path: Path) -> sqlite3.Connection:
    """Open the cache; one that is damaged or can't be written is replaced by one in memory."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(_SCHEMA)
    except (sqlite3.Error, OSError):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.execute(_SCHEMA)
    return connection
