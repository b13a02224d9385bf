"""Secrets from blocks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect.exceptions import ObjectNotFound

from bevformer_lib.errors import ConfigError
from bevformer_lib.source.hub_access import current_hub_access
from bevformer_lib.store.s3_client import S3Credentials
from tasks import credentials, server
from tasks.credentials import opened
from tasks.settings import RunSettings
from tests.tasks.fakes import Clock, FakeServer, refusal


class Blocks(FakeServer):
    """A server with blocks: (name, type) -> content."""

    content: dict[tuple[str, str], dict[str, Any]]
    failures: int = 0

    def read_block_document_by_name(self, name: str, kind: str, include_secrets: bool) -> Any:
        if self.failures:
            self.failures -= 1
            raise httpx.ConnectError("refused")
        if (name, kind) not in self.content:
            raise ObjectNotFound(refusal(404))
        return SimpleNamespace(data=self.content[name, kind])


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> Blocks:
    clock = Clock()
    blocks = Blocks(clock)
    blocks.content = {}
    monkeypatch.setattr(server, "time", clock)
    monkeypatch.setattr(credentials, "get_client", lambda sync_client: blocks)
    return blocks


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[S3Credentials | None]:
    asked: list[S3Credentials | None] = []
    monkeypatch.setattr(credentials, "open_store", lambda store, credentials: asked.append(credentials))
    return asked


def test_without_blocks_the_environment_holds(asked: list[S3Credentials | None]) -> None:
    with opened("s3://night/bevformer", RunSettings()):
        assert current_hub_access().token is None
    assert asked == [None]


@pytest.mark.parametrize("failures", [0, 5])
def test_keys_of_both_kinds_of_blocks_are_read_also_when_the_server_is_away_at_first(
    blocks: Blocks, asked: list[S3Credentials | None], failures: int
) -> None:
    client = {"endpoint_url": "http://minio:9000"}
    aws = {"aws_access_key_id": "id", "aws_secret_access_key": "planted", "aws_client_parameters": client}
    blocks.content["night-s3", "aws-credentials"] = aws
    blocks.content["minio", "minio-credentials"] = {"minio_root_user": "root", "minio_root_password": "planted"}
    for name in ("night-s3", "minio"):
        blocks.failures = failures
        with opened("s3://night/bevformer", RunSettings(s3_block=name)):
            pass
    assert asked == [
        S3Credentials("id", "planted", endpoint_url="http://minio:9000"),
        S3Credentials("root", "planted"),
    ]
    assert "planted" not in repr(asked)


def test_a_missing_block_is_named_at_once(blocks: Blocks, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="s3_block absent: Prefect has neither"),
        opened(str(tmp_path), RunSettings(s3_block="absent")),
    ):
        pass
    assert blocks.clock.now == 1000.0
