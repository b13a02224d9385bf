"""Reading one object from S3: to a file in ranges at once, or through a digest without keeping it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bevformer_lib.store.s3_client import is_missing

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_RANGE_BYTES: Final = 16 << 20
_RANGES_AT_ONCE: Final = 4
_CHUNK_BYTES: Final = 1 << 20
_ATTEMPTS: Final = 5
_PAUSE_SECONDS: Final = 0.1


def download_file(client: S3Client, bucket: str, key: str, path: Path) -> None:
    """Download an object; ranges that break off are asked for again. The content is not compared with anything."""
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig(
        multipart_threshold=_RANGE_BYTES, multipart_chunksize=_RANGE_BYTES, max_concurrency=_RANGES_AT_ONCE
    )
    client.download_file(bucket, key, str(path), Config=config)


def read_key(client: S3Client, bucket: str, key: str) -> bytes | None:
    """Return an object's content as the server gives it now, or ``None`` where there is none."""
    from botocore.exceptions import ClientError

    try:
        return b"".join(_chunks(client, bucket, key))
    except ClientError as error:
        if is_missing(error):
            return None
        raise


def sha256_of_key(client: S3Client, bucket: str, key: str) -> str:
    """Return the sha256 (hex) of an object's content as the server gives it now."""
    digest = hashlib.sha256()
    for chunk in _chunks(client, bucket, key):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(client: S3Client, bucket: str, key: str) -> Iterator[bytes]:
    """Yield an object's content; an answer that breaks off is carried on with, which botocore does for no body."""
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    read = 0
    condition: dict[str, Any] = {}
    for attempt in range(_ATTEMPTS):
        if read:
            condition["Range"] = f"bytes={read}-"
        answer = client.get_object(Bucket=bucket, Key=key, **condition)
        condition["IfMatch"] = answer["ETag"]
        try:
            for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                read += len(chunk)
                yield chunk
        except (HTTPClientError, IncompleteReadError):
            if attempt + 1 == _ATTEMPTS:
                raise
            time.sleep(_PAUSE_SECONDS * 2**attempt)
        else:
            return
