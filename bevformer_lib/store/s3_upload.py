"""Writing one object to S3: in one request, or in parts at once, and never over what another writer put there."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bevformer_lib.errors import StoreError
from bevformer_lib.store.s3_client import is_conflict, is_taken

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES: Final = 16 << 20
_MAX_PARTS: Final = 10_000
_PARTS_AT_ONCE: Final = 4
_CONFLICT_ATTEMPTS: Final = 8
_CONFLICT_WAIT_S: Final = 0.2


def upload_file(
    client: S3Client,
    bucket: str,
    key: str,
    path: Path,
    sha256: str,
    *,
    replace: bool = False,
    part_bytes: int = PART_BYTES,
) -> bool:
    """Upload a file whose digest is known; nothing is visible before the whole is there.

    The server compares every request's content with the sha256 that signs it.

    Args:
        client: of the server.
        bucket: name of the bucket.
        key: of the object.
        path: the file.
        sha256: hex digest of its content; kept in the object's metadata.
        replace: write over an object that is known to be broken.
        part_bytes: a larger file is sent in parts of this size, several at once.

    Returns:
        Whether it was written; ``False`` if another writer was first.

    Raises:
        StoreError: the file changed since its digest was taken.
        botocore.exceptions.ClientError: the server refuses.
    """
    size = path.stat().st_size
    if size <= part_bytes:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise StoreError(f"{path}: changed while it was taken over; run the same command again")
        return put_bytes(client, bucket, key, content, {"sha256": sha256}, replace=replace)
    return _upload_parts(client, bucket, key, path, sha256, replace, max(part_bytes, math.ceil(size / _MAX_PARTS)))


def put_bytes(
    client: S3Client, bucket: str, key: str, content: bytes, metadata: Mapping[str, str], *, replace: bool = False
) -> bool:
    """Write a small object in one request; return ``False`` if another writer was first."""
    condition: Any = {} if replace else {"IfNoneMatch": "*"}
    return _unless_taken(
        lambda: client.put_object(Bucket=bucket, Key=key, Body=content, Metadata=dict(metadata), **condition)
    )


def _upload_parts(
    client: S3Client, bucket: str, key: str, path: Path, sha256: str, replace: bool, part_bytes: int
) -> bool:
    before = path.stat()
    upload = client.create_multipart_upload(Bucket=bucket, Key=key, Metadata={"sha256": sha256})["UploadId"]

    def send(number: int) -> CompletedPartTypeDef:
        with path.open("rb") as file:
            file.seek((number - 1) * part_bytes)
            content = file.read(part_bytes)
        sent = client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=content)
        return {"PartNumber": number, "ETag": sent["ETag"]}

    try:
        with ThreadPoolExecutor(_PARTS_AT_ONCE) as pool:
            futures = [pool.submit(send, number + 1) for number in range(math.ceil(before.st_size / part_bytes))]
            try:
                parts = [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        after = path.stat()
        if (after.st_size, after.st_mtime_ns, after.st_ino) != (before.st_size, before.st_mtime_ns, before.st_ino):
            raise StoreError(f"{path}: changed while it was taken over; run the same command again")
        condition: Any = {} if replace else {"IfNoneMatch": "*"}
        written = _unless_taken(
            lambda: client.complete_multipart_upload(
                Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}, **condition
            )
        )
    except BaseException:
        _abort(client, bucket, key, upload)
        raise
    if not written:
        _abort(client, bucket, key, upload)
    return written


def _unless_taken(write: Any) -> bool:
    """Write on condition; return ``False`` if the key is taken. Conflicting writers take turns."""
    from botocore.exceptions import ClientError

    for attempt in range(_CONFLICT_ATTEMPTS):
        try:
            write()
        except ClientError as error:
            if is_taken(error):
                return False
            if not is_conflict(error) or attempt + 1 == _CONFLICT_ATTEMPTS:
                raise
            time.sleep(_CONFLICT_WAIT_S * 2**attempt)
        else:
            break
    return True


def _abort(client: S3Client, bucket: str, key: str, upload: str) -> None:
    """Drop the parts; if that fails too, ``bevformer store gc`` drops them later."""
    from botocore.exceptions import BotoCoreError, ClientError

    with contextlib.suppress(ClientError, BotoCoreError):
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
