"""Prefect servers of `bevformer build`'s own kind, without the eight seconds in which a new database is migrated."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.local_server import LocalServer


@contextmanager
def running_server(home: Path) -> Iterator[LocalServer]:
    """Start a server with this home; it is gone when the block ends."""
    server = LocalServer(home, home.with_name(f"{home.name}.log"))
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def migrate(home: Path) -> None:
    """Fill a folder with a migrated, empty database."""
    with running_server(home):
        pass


def copy_home(migrated: Path, home: Path) -> Path:
    """Give a server that is yet to start a database that is migrated."""
    return Path(shutil.copytree(migrated, home))
