"""A real S3 protocol server for tests: OpenStack Swift on a temporary folder, gone with the test process."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config

from bevformer_lib.store.s3_client import S3Credentials

_PROCESS = Path(__file__).with_name("s3_server_process.py")
SECRET_KEY = "Sekret/Key+0123456789"
_START_SECONDS = 60
_STOP_SECONDS = 10


@dataclass(frozen=True)
class S3Server:
    """A running server.

    Attributes:
        endpoint_url: where it listens.
        credentials: of its one user.
        pid: of its process.
        folder: its disk.
    """

    endpoint_url: str
    credentials: S3Credentials
    pid: int
    folder: Path

    def environment(self) -> dict[str, str]:
        """Return the variables with which any AWS client finds the server."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": str(self.credentials.access_key_id),
            "AWS_SECRET_ACCESS_KEY": str(self.credentials.secret_access_key),
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def make_bucket(self, name: str) -> str:
        """Make a bucket and return its name."""
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.credentials.access_key_id,
            aws_secret_access_key=self.credentials.secret_access_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )
        client.create_bucket(Bucket=name)
        return name


@contextmanager
def running_s3_server(folder: Path, secret_key: str = SECRET_KEY, *, racy: bool = False) -> Iterator[S3Server]:
    """Start the server, wait until it listens, stop it when the block ends.

    Args:
        folder: empty folder for its disk; the file system must have extended attributes (``/tmp`` has).
        secret_key: of its one user, ``test:tester``.
        racy: let racing conditional writers all win, as Swift by itself does.
    """
    arguments = [sys.executable, "-W", "ignore", str(_PROCESS), str(folder), "test:tester", secret_key]
    arguments += ["--racy"] if racy else []
    log = folder.with_name(f"{folder.name}.log")
    with (
        log.open("wb") as errors,
        subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
            endpoint_url = process.stdout.readline().decode().strip() if ready else ""
            if not endpoint_url:
                raise RuntimeError(f"the S3 server did not start: {log.read_text()}")
            credentials = S3Credentials("test:tester", secret_key, region="us-east-1", endpoint_url=endpoint_url)
            yield S3Server(endpoint_url, credentials, process.pid, folder)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
