"""Reading one object from S3: to a file in ranges at once, or through a digest without keeping it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_RANGE_BYTES: Final = 16 << 20
_RANGES_AT_ONCE: Final = 4
_CHUNK_BYTES: Final = 1 << 20


def download_file(client: S3Client, bucket: str, key: str, path: Path) -> None:
    """Download an object; ranges that break off are asked for again. The content is not compared with anything."""
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig(
        multipart_threshold=_RANGE_BYTES, multipart_chunksize=_RANGE_BYTES, max_concurrency=_RANGES_AT_ONCE
    )
    client.download_file(bucket, key, str(path), Config=config)


def sha256_of_key(client: S3Client, bucket: str, key: str) -> str:
    """Return the sha256 (hex) of an object's content as the server gives it now."""
    digest = hashlib.sha256()
    for chunk in client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
