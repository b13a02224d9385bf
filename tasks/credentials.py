"""Secrets from Prefect's blocks, read by name on the machine that needs them and kept in memory only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from bevformer_lib.errors import ConfigError
from bevformer_lib.source.hub_access import HubAccess, using_hub_access
from bevformer_lib.store.base import Store
from bevformer_lib.store.open import open_store
from bevformer_lib.store.s3_client import S3Credentials
from tasks.server import patiently
from tasks.settings import RunSettings

_S3_BLOCKS: Final = ("aws-credentials", "minio-credentials")
"""Types of blocks that prefect-aws defines; their documents are read without it, since it narrows boto3's versions."""


@contextmanager
def opened(store: str, settings: RunSettings) -> Iterator[Store]:
    """Open a store with a run's credentials; within the block the hub is reached with its token.

    Raises:
        ConfigError: a block is missing.
        StoreError: the store can't be used.
    """
    token = credentials = None
    if settings.hub_token_block is not None:
        token = patiently(partial(_secret, settings.hub_token_block), f"block {settings.hub_token_block}")
    if settings.s3_block is not None:
        credentials = patiently(partial(_s3_credentials, settings.s3_block), f"block {settings.s3_block}")
    with using_hub_access(HubAccess(token=token)):
        yield open_store(store, credentials=credentials)


def _secret(name: str) -> str:
    try:
        block = Secret.load(name)
        assert isinstance(block, Secret)  # noqa: S101 (a coroutine only where an event loop runs)
        return str(block.get())
    except ValueError:
        raise ConfigError(
            f"hub_token_block {name}: Prefect has no Secret block of this name; make one in the UI (Blocks), or leave "
            "the parameter empty and set HF_TOKEN on the workers"
        ) from None


def _s3_credentials(name: str) -> S3Credentials:
    with get_client(sync_client=True) as client:
        for kind in _S3_BLOCKS:
            try:
                document = client.read_block_document_by_name(name, kind, include_secrets=True)
            except ObjectNotFound:
                continue
            return _of_document(document.data)
    raise ConfigError(
        f"s3_block {name}: Prefect has neither an AWS Credentials nor a MinIO Credentials block of this name; make "
        "one, or leave the parameter empty and give the workers AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )


def _of_document(data: Mapping[str, Any]) -> S3Credentials:
    client = data.get("aws_client_parameters") or {}
    return S3Credentials(
        access_key_id=data.get("aws_access_key_id") or data.get("minio_root_user"),
        secret_access_key=data.get("aws_secret_access_key") or data.get("minio_root_password"),
        session_token=data.get("aws_session_token"),
        region=data.get("region_name"),
        endpoint_url=client.get("endpoint_url"),
        profile=data.get("profile_name"),
    )
