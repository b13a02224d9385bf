"""Open a store by its address."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from bevformer_lib.errors import StoreError
from bevformer_lib.store.base import Store
from bevformer_lib.store.folder import FolderStore
from bevformer_lib.store.s3_client import S3Credentials

ADDRESS_PATTERN: Final = r"s3://[^/:@]+(/.*)?"
"""Addresses of stores that are no folders."""
CACHE_VARIABLE: Final = "BEVFORMER_CACHE"
CACHE_SIZE_VARIABLE: Final = "BEVFORMER_CACHE_GB"
_DEFAULT_CACHE_GB: Final = 50.0


def open_store(
    address: str | Path,
    *,
    credentials: S3Credentials | None = None,
    cache: Path | None = None,
    cache_bytes: int | None = None,
    must_exist: bool = False,
) -> Store:
    """Open the store at an address, or create the folder that it names.

    Args:
        address: a folder, ``file:///folder`` or ``s3://bucket/prefix``.
        credentials: of S3, as far as the environment and the AWS configuration do not hold them.
        cache: local folder for objects of S3; ``BEVFORMER_CACHE`` or ``~/.cache/bevformer`` if left out.
        cache_bytes: what the cache may hold; ``BEVFORMER_CACHE_GB`` or 50 GB if left out.
        must_exist: refuse a folder that is not a store yet. A bucket must exist in any case.

    Raises:
        StoreError: the address is none of these, the store can't be used, or the folder holds something else.
    """
    scheme, separator, rest = str(address).partition("://")
    if not separator:
        return _open_folder(Path(address), must_exist)
    if scheme == "file":
        parts = urlsplit(str(address))
        if parts.netloc not in ("", "localhost"):
            raise StoreError(f"{address}: names another machine; write three slashes: file:///folder")
        return _open_folder(Path(unquote(parts.path)), must_exist)
    if scheme != "s3":
        raise StoreError(f"{scheme}://...: not a store; give a folder, file:///folder or s3://bucket/prefix")
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket or ":" in bucket:
        raise StoreError("s3://...: the address holds more than a bucket's name; give credentials by the environment")
    if not bucket:
        raise StoreError(f"{address}: names no bucket; give s3://bucket/prefix")
    from bevformer_lib.store.cache import ObjectCache
    from bevformer_lib.store.s3 import S3Store

    limit = _cache_bytes() if cache_bytes is None else cache_bytes
    return S3Store(bucket, prefix, ObjectCache(cache or cache_folder() / "objects", limit), credentials)


def cache_folder() -> Path:
    """Return the folder for everything that may be fetched again."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "bevformer"


def _open_folder(root: Path, must_exist: bool) -> FolderStore:
    if must_exist and not (root / "records").is_dir():
        raise StoreError(f"{root}: not a store; give the folder or the s3:// address that `bevformer build` wrote to")
    if _holds_something_else(root):
        raise StoreError(f"{root}: holds other files and no store; choose an empty folder, or one to be made")
    return FolderStore(root)


def _holds_something_else(root: Path) -> bool:
    """Tell a folder of scenes, say, from a store, from the root of an empty disk, and from where a store was begun."""
    if not root.is_dir() or any((root / name).is_dir() for name in ("objects", "records")):
        return False
    return any(not path.name.startswith(".") and path.name != "lost+found" for path in root.iterdir())


def _cache_bytes() -> int:
    text = os.environ.get(CACHE_SIZE_VARIABLE, str(_DEFAULT_CACHE_GB))
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not size > 0:
        raise StoreError(f"{CACHE_SIZE_VARIABLE}={text}: not a size; give a number of gigabytes above 0")
    return int(size * 1e9)
