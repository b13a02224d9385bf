"""Objects of a distant store kept on the local disk: read through, limited in size, shared by any number of processes.

Layout::

    objects/ab/abcdef...   content, read-only, named by its sha256
    used/<sha256>          empty; its time is when the object was asked for last
    pins/<process>/        names of the objects that a living process was handed
    broken/<sha256>        which copy in the distant store was found broken from here
    scratch/               unfinished work
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final

from filelock import FileLock

from bevformer_lib.errors import StoreError
from bevformer_lib.scratch import remove_abandoned, scratch_folder
from bevformer_lib.store.digests import DigestCache
from bevformer_lib.store.full_disk import named_full_disk

_READ_ONLY = 0o444
_ROOM_MADE: Final = 0.9
"""What is thrown out at once leaves a tenth of the limit free, so that not every new object counts all the others."""
_UNCOUNTED: Final = 0.1
"""The share of the limit that a process adds before it counts again, since others add too."""


class ObjectCache:
    """A cache of objects by digest; the ones not used for longest go first.

    What it hands out stays until the cache object is garbage: an object in use is never removed, even if the limit is
    passed. Every hit is compared with its digest (see :class:`DigestCache`: an untouched file costs one ``stat``).
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        """Open or create the cache.

        Raises:
            StoreError: ``root`` can't be written to.
        """
        self.root = root.absolute()
        self.max_bytes = max_bytes
        try:
            for name in ("objects", "used", "pins", "broken"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            self._exit = ExitStack()
            self._pins = self._exit.enter_context(scratch_folder(self.root / "pins"))
        except OSError as error:
            raise StoreError(
                f"{self.root}: can't be used as a cache ({error.strerror}); set BEVFORMER_CACHE to a folder that can"
            ) from error
        weakref.finalize(self, self._exit.close)
        self.digests = DigestCache(self.root / "digests.sqlite")
        self._room = 0
        self._room_lock = threading.Lock()

    def get(self, sha256: str) -> Path | None:
        """Return the object's verified file, if it is here."""
        path = self._path(sha256)
        with self._locked():
            if not path.is_file():
                return None
            self._note_use(sha256)
        with contextlib.suppress(FileNotFoundError):
            if self.digests.digest(path) == sha256:
                return path
            path.unlink(missing_ok=True)
        return None

    def add(self, sha256: str, path: Path) -> Path:
        """Move a file with the object's verified content in and return its new place.

        Raises:
            StoreError: no space left.
        """
        final = self._path(sha256)
        size = path.stat().st_size
        path.chmod(_READ_ONLY)
        with named_full_disk(path), self._locked():
            final.parent.mkdir(exist_ok=True)
            path.replace(final)
            self._note_use(sha256)
        with self._room_lock:
            self._room -= size
            if self._room < 0:
                self._room = self._make_room()
        return final

    def size(self) -> int:
        """Return the bytes of all objects."""
        return sum(size for _, _, size in self._by_last_use())

    def note_broken(self, sha256: str, copy: str) -> None:
        """Remember which copy of an object in the distant store is broken."""
        (self.root / "broken" / sha256).write_text(copy, encoding="utf-8")

    def known_broken(self, sha256: str) -> str | None:
        """Return which copy of an object was found broken, if one was."""
        with contextlib.suppress(FileNotFoundError):
            return (self.root / "broken" / sha256).read_text(encoding="utf-8")
        return None

    def forget_broken(self, sha256: str) -> None:
        """Forget that a copy was broken: another has taken its place."""
        (self.root / "broken" / sha256).unlink(missing_ok=True)

    def scratch(self) -> AbstractContextManager[Path]:
        """Give a folder on the cache's file system."""
        return scratch_folder(self.root / "scratch")

    def remove_abandoned_scratch(self) -> int:
        """Remove what killed processes left unfinished; return how many folders."""
        return remove_abandoned(self.root / "scratch")

    def _path(self, sha256: str) -> Path:
        return self.root / "objects" / sha256[:2] / sha256

    def _note_use(self, sha256: str) -> None:
        # Beside the object, not on it: a file whose times change is read again before it is trusted.
        (self.root / "used" / sha256).touch()
        (self._pins / sha256).touch()

    def _make_room(self) -> int:
        """Remove what was not used for longest until the limit holds; return how much may be added uncounted."""
        with self._locked():
            remove_abandoned(self.root / "pins")
            pinned = {path.name for path in (self.root / "pins").glob("*/*")}
            objects = self._by_last_use()
            total = sum(size for _, _, size in objects)
            target = self.max_bytes if total <= self.max_bytes else int(self.max_bytes * _ROOM_MADE)
            for _, path, size in objects:
                if total <= target:
                    break
                if path.name not in pinned:
                    path.unlink(missing_ok=True)
                    (self.root / "used" / path.name).unlink(missing_ok=True)
                    total -= size
        return min(self.max_bytes - total, int(self.max_bytes * _UNCOUNTED))

    def _by_last_use(self) -> list[tuple[float, Path, int]]:
        found = []
        for path in (self.root / "objects").glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                used = self.root / "used" / path.name
                found.append((used.stat().st_mtime if used.exists() else 0.0, path, path.stat().st_size))
        return sorted(found)

    def _locked(self) -> FileLock:
        """Return what holds the cache against every other thread and process."""
        return FileLock(self.root / "lock", mode=0o666)
