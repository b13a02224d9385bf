"""The store on a local folder.

Layout::

    objects/ab/abcdef...        content, read-only, named by its sha256
    records/<kind>/<key>.json   what each step did
    scratch/                    unfinished work
    cache/digests.sqlite        digests of files, valid while they are unchanged

Everything but ``cache`` and ``scratch`` is written elsewhere first, flushed to the disk, and then given its name in one
operation, so a crash at any moment leaves either nothing or the whole under a final name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bevformer_lib.errors import StoreError
from bevformer_lib.scratch import remove_abandoned, scratch_folder
from bevformer_lib.store.base import REFRESH_AGE_S, ObjectEntry, StoredObject
from bevformer_lib.store.digests import DigestCache
from bevformer_lib.store.full_disk import named_full_disk
from bevformer_lib.store.names import SUFFIX, decoded_key, decoded_kind, encoded, encoded_kind
from bevformer_lib.store.record_file import record_bytes, record_content

_READ_ONLY = 0o444


class FolderStore:
    """A :class:`~bevformer_lib.store.base.Store` in a folder.

    Reading an object compares its content with its digest. The content is read in full when the file was touched in any
    way since it was last compared (see :class:`DigestCache`), so an untouched object costs one ``stat``.
    """

    def __init__(self, root: Path) -> None:
        """Open or create the store.

        Raises:
            StoreError: ``root`` can't be a folder of ours.
        """
        self.root = root.absolute()
        try:
            self._objects.mkdir(parents=True, exist_ok=True)
            self._records.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self.root}: can't be used as a store ({error.strerror}); choose a folder that can be written to"
            ) from error
        self.digests = DigestCache(self.root / "cache" / "digests.sqlite")

    @property
    def uri(self) -> str:
        """``file://`` and the absolute path, percent-encoded."""
        return self.root.as_uri()

    def put_object(self, path: Path) -> StoredObject:
        """Move (across file systems: copy) a finished file in. See :meth:`Store.put_object`."""
        with named_full_disk(path):
            sha256 = self.digests.digest(path, trust=False)
            size = path.stat().st_size
            final = self._object_path(sha256)
            if self._is_intact(sha256):
                _refresh(final)
                return StoredObject(sha256, size)
            with self.scratch() as folder:
                staged = folder / sha256
                shutil.move(path, staged)
                staged.chmod(_READ_ONLY)
                _flush(staged)
                final.parent.mkdir(exist_ok=True)
                staged.replace(final)
            _flush(final.parent)
        return StoredObject(sha256, size)

    def get_object(self, sha256: str) -> Path:
        """Return the object's own file, verified. See :meth:`Store.get_object`."""
        path = self._object_path(sha256)
        try:
            found = self.digests.digest(path)
        except FileNotFoundError as error:
            raise StoreError(f"{path}: the object is missing; build again: the step that made it is redone") from error
        except OSError as error:
            raise StoreError(f"{path}: the object can't be read ({error.strerror}); check the disk") from error
        if found != sha256:
            raise StoreError(
                f"{path}: the object is corrupted (its content has sha256 {found}); "
                "build again: the step that made it is redone"
            )
        return path

    def check_object(self, sha256: str, size: int | None = None, *, read: bool = False) -> None:
        """Compare the object's content with its digest. See :meth:`Store.check_object`."""
        if read:
            with contextlib.suppress(OSError):
                self.digests.digest(self._object_path(sha256), trust=False)
        self.get_object(sha256)

    def list_objects(self) -> Iterator[ObjectEntry]:
        """Yield every object."""
        for path in self._objects.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                yield ObjectEntry(path.name, status.st_size, status.st_mtime)

    def remove_object(self, sha256: str) -> None:
        """Delete an object's file."""
        self._object_path(sha256).unlink(missing_ok=True)

    def put_record(self, kind: str, key: str, content: Mapping[str, Any]) -> bool:
        """Publish a record once: a hard link to a whole file, which fails if the name is taken."""
        path = self._record_path(kind, key)
        raw = record_bytes(kind, key, content)
        with named_full_disk(path), self.scratch() as folder:
            path.parent.mkdir(parents=True, exist_ok=True)
            staged = folder / "record.json"
            staged.write_bytes(raw)
            _flush(staged)
            try:
                os.link(staged, path)
            except FileExistsError:
                return False
            _flush(path.parent)
        return True

    def get_record(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return a record's content. See :meth:`Store.get_record`."""
        path = self._record_path(kind, key)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        return record_content(raw, kind, key, place=str(path))

    def remove_record(self, kind: str, key: str) -> None:
        """Delete a record's file."""
        self._record_path(kind, key).unlink(missing_ok=True)

    def refresh_record(self, kind: str, key: str) -> None:
        """Set a record's time. See :meth:`Store.refresh_record`."""
        _refresh(self._record_path(kind, key))

    def list_records(self, kind: str) -> tuple[str, ...]:
        """Return the sorted keys under ``kind``."""
        return tuple(sorted(self.record_times(kind)))

    def record_times(self, kind: str) -> dict[str, float]:
        """Return the keys under ``kind`` with the times of their files."""
        times = {}
        for path in self._kind_folder(kind).glob(f"*{SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                times[decoded_key(path.name)] = path.stat().st_mtime
        return times

    def list_kinds(self) -> tuple[str, ...]:
        """Return the sorted kinds that hold a record."""
        folders = {path.parent.relative_to(self._records) for path in self._records.rglob(f"*{SUFFIX}")}
        return tuple(sorted(decoded_kind(folder.as_posix()) for folder in folders))

    def check_conditional_writes(self) -> None:
        """Return: a hard link to a name that is taken fails on every file system that has hard links."""

    def scratch(self) -> AbstractContextManager[Path]:
        """Give a folder on the store's own file system, so that taking a file over is a rename."""
        return scratch_folder(self.root / "scratch")

    def remove_abandoned_scratch(self) -> int:
        """Remove what killed processes left unfinished; return how many folders."""
        return remove_abandoned(self.root / "scratch")

    def remove_abandoned_uploads(self, older_than_s: float) -> int:
        """Return 0: what a folder takes over is unfinished in the scratch folder only."""
        return 0

    @property
    def _objects(self) -> Path:
        return self.root / "objects"

    @property
    def _records(self) -> Path:
        return self.root / "records"

    def _object_path(self, sha256: str) -> Path:
        return self._objects / sha256[:2] / sha256

    def _kind_folder(self, kind: str) -> Path:
        return self._records / encoded_kind(kind)

    def _record_path(self, kind: str, key: str) -> Path:
        return self._kind_folder(kind) / f"{encoded(key)}{SUFFIX}"

    def _is_intact(self, sha256: str) -> bool:
        with contextlib.suppress(StoreError):
            self.get_object(sha256)
            return True
        return False


def _refresh(path: Path) -> None:
    """Set a file's time to now if it is old; seldom, since a touched object is read again before it is trusted."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime > REFRESH_AGE_S:
            os.utime(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
