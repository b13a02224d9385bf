"""The store on a local folder.

Layout::

    objects/ab/abcdef...        content, read-only, named by its sha256
    records/<kind>/<key>.json   what each step did
    scratch/                    unfinished work
    cache/digests.sqlite        digests of files that nobody touched since

Everything but ``cache`` and ``scratch`` is written elsewhere first, flushed to the disk, and then given its name in one
operation, so a crash at any moment leaves either nothing or the whole under a final name.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bevformer_lib.errors import StoreError
from bevformer_lib.store.base import StoredObject
from bevformer_lib.store.digests import DigestCache
from bevformer_lib.store.full_disk import named_full_disk
from bevformer_lib.store.scratch import remove_abandoned, scratch_folder

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

    def has_object(self, sha256: str) -> bool:
        """Return whether the object's file exists."""
        return self._object_path(sha256).is_file()

    def put_record(self, kind: str, key: str, content: Mapping[str, Any]) -> bool:
        """Publish a record once: a hard link to a whole file, which fails if the name is taken."""
        path = self._record_path(kind, key)
        text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False, sort_keys=True) + "\n"
        with named_full_disk(path), self.scratch() as folder:
            path.parent.mkdir(parents=True, exist_ok=True)
            staged = folder / "record.json"
            staged.write_text(text, encoding="utf-8")
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
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StoreError(f"{path}: the record is not JSON ({error}); delete it and build again") from error
        if not isinstance(content, dict):
            raise StoreError(f"{path}: the record is not a JSON object; delete it and build again")
        return content

    def remove_record(self, kind: str, key: str) -> None:
        """Delete a record's file."""
        self._record_path(kind, key).unlink(missing_ok=True)

    def list_records(self, kind: str) -> tuple[str, ...]:
        """Return the sorted keys under ``kind``."""
        folder = self._kind_folder(kind)
        return tuple(sorted(unquote(path.stem) for path in folder.glob("*.json"))) if folder.is_dir() else ()

    def list_kinds(self) -> tuple[str, ...]:
        """Return the sorted kinds that hold a record."""
        folders = {path.parent.relative_to(self._records) for path in self._records.rglob("*.json")}
        return tuple(sorted("/".join(unquote(part) for part in folder.parts) for folder in folders))

    def scratch(self) -> AbstractContextManager[Path]:
        """Give a folder on the store's own file system, so that taking a file over is a rename."""
        return scratch_folder(self.root / "scratch")

    def remove_abandoned_scratch(self) -> int:
        """Remove what killed processes left unfinished; return how many folders."""
        return remove_abandoned(self.root / "scratch")

    @property
    def _objects(self) -> Path:
        return self.root / "objects"

    @property
    def _records(self) -> Path:
        return self.root / "records"

    def _object_path(self, sha256: str) -> Path:
        return self._objects / sha256[:2] / sha256

    def _kind_folder(self, kind: str) -> Path:
        return self._records.joinpath(*(_file_name(part) for part in kind.split("/")))

    def _record_path(self, kind: str, key: str) -> Path:
        return self._kind_folder(kind) / f"{_file_name(key)}.json"

    def _is_intact(self, sha256: str) -> bool:
        with contextlib.suppress(StoreError):
            self.get_object(sha256)
            return True
        return False


def _file_name(part: str) -> str:
    """Encode any text as one file name: no separators, no leading dot."""
    encoded = part.replace("%", "%25").replace("/", "%2F")
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
