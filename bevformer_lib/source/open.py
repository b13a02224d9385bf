"""Inputs by address: find out exactly what one names, then get it as a local path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bevformer_lib.errors import SourceError
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.source.address import is_hub, parse_hub, parse_local
from bevformer_lib.source.hub import resolve_hub
from bevformer_lib.source.hub_access import HubAccess
from bevformer_lib.source.hub_fetch import fetch_hub
from bevformer_lib.source.resolved import ResolvedSource, SourceFile
from bevformer_lib.store.digests import DigestCache
from bevformer_lib.store.open import cache_folder


def resolve_source(address: str | Path, access: HubAccess | None = None) -> ResolvedSource:
    """Return what an address names now; nothing large is read or downloaded.

    Args:
        address: a path, ``file:///path`` or ``hf://owner/repo[@revision]/path``.
        access: how the hub is reached.

    Raises:
        SourceError: there is no such thing, or it can't be reached.
    """
    if is_hub(address):
        return resolve_hub(parse_hub(str(address)), access or HubAccess())
    path = parse_local(address)
    try:
        if path.is_file():
            return ResolvedSource("folder", str(path), False, (SourceFile(path.name, path.stat().st_size),))
        if not path.is_dir():
            raise SourceError(f"{path}: there is no such file or folder; {_say_what_is_there(path)}")
        files = [found for found in path.rglob("*") if found.is_file()]
        listed = sorted((found.relative_to(path).as_posix(), found.stat().st_size) for found in files)
    except OSError as error:
        raise SourceError(f"{error.filename or path}: can't be read ({error.strerror})") from error
    return ResolvedSource("folder", str(path), True, tuple(SourceFile(name, size) for name, size in listed))


def fetch(
    source: ResolvedSource, on_progress: ProgressCallback = no_progress, *, access: HubAccess | None = None
) -> Path:
    """Return a local file or folder with the source's content.

    What is on the hub is downloaded into the shared cache and compared with its digests; a download that was
    interrupted, even killed, goes on where it ended. Treat what is returned as read-only: others use it too.

    Raises:
        SourceError: it is gone, can't be reached, or is not what it should be.
        StoreError: no space left.
    """
    if source.kind == "folder":
        path = Path(source.place)
        if not path.exists():
            raise SourceError(f"{path}: was removed while it was in use; start again")
        return path
    return fetch_hub(source, access or HubAccess(), local_digests(), on_progress)


def source_digests(source: ResolvedSource, path: Path, digests: DigestCache | None = None) -> Mapping[str, str]:
    """Return the sha256 of every file of a fetched source: path below the source -> hex digest.

    Args:
        source: from :func:`resolve_source`.
        path: from :func:`fetch`.
        digests: remembers the digests of unchanged files; the cache's own if left out.
    """
    known = digests or local_digests()
    return {
        file.path: file.sha256 or known.digest(path / file.path if source.is_folder else path) for file in source.files
    }


def local_digests() -> DigestCache:
    """Return the memory of digests that all inputs on this machine share."""
    return DigestCache(cache_folder() / "digests.sqlite")


def _say_what_is_there(path: Path) -> str:
    folder = next(parent for parent in path.parents if parent.is_dir())
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir())
    return f"{folder} holds: {', '.join(names[:30]) or 'nothing'}{' ...' if len(names) > 30 else ''}"
