from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bevformer_lib.store.base import Store
from bevformer_lib.store.cache import ObjectCache
from bevformer_lib.store.folder import FolderStore
from bevformer_lib.store.s3 import S3Store
from tests.support.s3_server import S3Server, running_s3_server
from tests.support.seaweedfs import running_seaweedfs

OpenS3 = Callable[..., S3Store]
_numbers = itertools.count()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3_server(tmp_path_factory.mktemp("s3") / "swift") as server:
        yield server


@pytest.fixture
def open_s3(s3_server: S3Server, tmp_path: Path) -> OpenS3:
    """Open a store in a bucket of this test; each named cache is another machine."""
    bucket = s3_server.make_bucket(f"bucket-{next(_numbers)}")

    def opened(machine: str = "here", cache_bytes: int = 1 << 30, **options: Any) -> S3Store:
        cache = ObjectCache(tmp_path / "cache" / machine, cache_bytes)
        credentials = options.pop("credentials", s3_server.credentials)
        return S3Store(bucket, "night/ä b", cache, credentials, **options)

    return opened


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The server of infra/compose.yaml, with one bucket."""
    with running_seaweedfs(tmp_path_factory.mktemp("s3") / "seaweedfs") as server:
        server.make_bucket("bevformer")
        yield server


@pytest.fixture(params=["folder", "s3", "seaweedfs"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return FolderStore(tmp_path / "mein Lager 倉庫")
    if request.param == "seaweedfs":
        server: S3Server = request.getfixturevalue("seaweedfs")
        cache = ObjectCache(tmp_path / "cache", 1 << 30)
        return S3Store("bevformer", f"night/ä b {next(_numbers)}", cache, server.credentials)
    opened: S3Store = request.getfixturevalue("open_s3")()
    return opened
