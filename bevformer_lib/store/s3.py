"""The store in an S3 bucket, read through a local cache.

Keys below the prefix::

    objects/<sha256>              content; its sha256 also in the object's metadata
    records/<kind>/<key>.json     what each step did

Every write is conditional (``If-None-Match: *``), so of several writers one wins and none writes over another. Parts
of an upload that was killed are no object; they are dropped by ``bevformer store gc``.
"""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bevformer_lib.errors import DamagedRecordError, StoreError
from bevformer_lib.files import sha256_of_file
from bevformer_lib.store.base import REFRESH_AGE_S, ObjectEntry, StoredObject
from bevformer_lib.store.cache import ObjectCache
from bevformer_lib.store.full_disk import named_full_disk
from bevformer_lib.store.names import SUFFIX, decoded_key, decoded_kind, encoded, encoded_kind
from bevformer_lib.store.record_file import record_bytes, record_content
from bevformer_lib.store.s3_client import S3Credentials, is_missing, make_client, named_s3_errors
from bevformer_lib.store.s3_read import download_file, read_key, sha256_of_key
from bevformer_lib.store.s3_upload import PART_BYTES, put_bytes, upload_file

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef, ObjectTypeDef

_COPY_LIMIT_BYTES: Final = 5_000_000_000
"""What one copy request may hold; S3's limit is 5 GiB."""
_READ_ATTEMPTS: Final = 2
_RACERS: Final = 8


class S3Store:
    """A :class:`~bevformer_lib.store.base.Store` in a bucket.

    Objects are compared with their digest after every download. One found broken is remembered on this machine, so that
    :meth:`check_object` refuses it, the step that made it is redone, and :meth:`put_object` replaces it.

    Safe to use from several threads.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        cache: ObjectCache,
        credentials: S3Credentials | None = None,
        *,
        part_bytes: int = PART_BYTES,
    ) -> None:
        """Open the store; the bucket must exist.

        Args:
            bucket: name of the bucket.
            prefix: what all keys begin with, ``""`` for the whole bucket.
            cache: where objects are kept locally.
            credentials: who asks and where, as far as the usual chain does not say.
            part_bytes: objects larger than this are uploaded in parts, several at once; 5 MiB at least.

        Raises:
            StoreError: the bucket is missing or forbidden, or the server can't be reached.
        """
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.cache = cache
        self.digests = cache.digests
        self._part_bytes = part_bytes
        self._client = make_client(credentials or S3Credentials(), self.uri)
        with self._errors(self.uri):
            self._client.list_objects_v2(Bucket=bucket, Prefix=self._key("records/"), MaxKeys=1)

    def __repr__(self) -> str:
        return f"S3Store({self.uri!r})"

    @property
    def uri(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def put_object(self, path: Path) -> StoredObject:
        """Upload a finished file, and keep it in the cache. See :meth:`Store.put_object`."""
        with named_full_disk(path), self._errors(f"{self.uri}/objects (from {path})"):
            sha256 = sha256_of_file(path)
            size = path.stat().st_size
            key = self._object_key(sha256)
            head = self._head(key)
            broken = head is not None and self._problem(sha256, size, head) is not None
            if head is None or broken:
                upload_file(self._client, self.bucket, key, path, sha256, replace=broken, part_bytes=self._part_bytes)
                self.cache.forget_broken(sha256)
            else:
                self._refresh(key, head)
            with self.cache.scratch() as folder:
                staged = folder / sha256
                shutil.move(path, staged)
                self.cache.add(sha256, staged)
        return StoredObject(sha256, size)

    def get_object(self, sha256: str) -> Path:
        """Return the cached file, downloaded before if it has to be. See :meth:`Store.get_object`."""
        cached = self.cache.get(sha256)
        if cached is not None:
            return cached
        uri, key = self._object_uri(sha256), self._object_key(sha256)
        with named_full_disk(self.cache.root), self._errors(uri), self.cache.scratch() as folder:
            found = ""
            for _ in range(_READ_ATTEMPTS):
                head = self._head(key)
                if head is None:
                    raise StoreError(_missing(uri))
                staged = folder / sha256
                download_file(self._client, self.bucket, key, staged)
                found = sha256_of_file(staged)
                if found == sha256:
                    return self.cache.add(sha256, staged)
                self.cache.note_broken(sha256, _copy_of(head))
        raise StoreError(
            f"{uri}: the object is corrupted (its content has sha256 {found}); "
            "build again: the step that made it is redone"
        )

    def check_object(self, sha256: str, size: int | None = None, *, read: bool = False) -> None:
        """Ask for the object's size and recorded digest; read it with ``read``. See :meth:`Store.check_object`."""
        uri, key = self._object_uri(sha256), self._object_key(sha256)
        with self._errors(uri):
            head = self._head(key)
            if head is None:
                raise StoreError(_missing(uri))
            problem = self._problem(sha256, size, head)
            if problem is None and read and (found := sha256_of_key(self._client, self.bucket, key)) != sha256:
                problem = f"its content has sha256 {found}"
                self.cache.note_broken(sha256, _copy_of(head))
        if problem is not None:
            raise StoreError(
                f"{uri}: the object is corrupted ({problem}); build again: the step that made it is redone"
            )

    def list_objects(self) -> Iterator[ObjectEntry]:
        """Yield every object."""
        prefix = self._key("objects/")
        for entry in self._list(prefix):
            yield ObjectEntry(entry["Key"].removeprefix(prefix), entry["Size"], entry["LastModified"].timestamp())

    def remove_object(self, sha256: str) -> None:
        """Delete an object from the bucket; caches drop theirs when it was not used for long."""
        with self._errors(self._object_uri(sha256)):
            self._client.delete_object(Bucket=self.bucket, Key=self._object_key(sha256))

    def put_record(self, kind: str, key: str, content: Mapping[str, Any]) -> bool:
        """Publish a record once, by a conditional write. See :meth:`Store.put_record`."""
        raw = record_bytes(kind, key, content)
        writer = uuid.uuid4().hex
        name = self._record_key(kind, key)
        with self._errors(self._record_uri(kind, key)):
            if put_bytes(self._client, self.bucket, name, raw, {"writer": writer}):
                return True
            # An answer that was lost on the way is asked for again, and then we find our own record in the way.
            head = self._head(name)
            return head is not None and head["Metadata"].get("writer") == writer

    def get_record(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return a record's content. See :meth:`Store.get_record`."""
        uri = self._record_uri(kind, key)
        for attempt in range(_READ_ATTEMPTS):
            with self._errors(uri):
                raw = read_key(self._client, self.bucket, self._record_key(kind, key))
            if raw is None:
                return None
            try:
                return record_content(raw, kind, key, place=uri)
            except DamagedRecordError:
                if attempt + 1 == _READ_ATTEMPTS:  # else it may have been damaged on its way here
                    raise
        raise AssertionError("unreachable")

    def remove_record(self, kind: str, key: str) -> None:
        """Delete a record."""
        with self._errors(self._record_uri(kind, key)):
            self._client.delete_object(Bucket=self.bucket, Key=self._record_key(kind, key))

    def refresh_record(self, kind: str, key: str) -> None:
        """Write an old record anew, as it is. See :meth:`Store.refresh_record`."""
        with self._errors(self._record_uri(kind, key)):
            name = self._record_key(kind, key)
            head = self._head(name)
            if head is not None:
                self._refresh(name, head)

    def list_records(self, kind: str) -> tuple[str, ...]:
        """Return the sorted keys under ``kind``."""
        return tuple(sorted(self.record_times(kind)))

    def record_times(self, kind: str) -> dict[str, float]:
        """Return the keys under ``kind`` with the times of their records."""
        prefix = self._key(f"records/{encoded_kind(kind)}/")
        entries = ((entry["Key"].removeprefix(prefix), entry["LastModified"]) for entry in self._list(prefix, "/"))
        return {decoded_key(name): modified.timestamp() for name, modified in entries if name.endswith(SUFFIX)}

    def list_kinds(self) -> tuple[str, ...]:
        """Return the sorted kinds that hold a record."""
        prefix = self._key("records/")
        names = (entry["Key"].removeprefix(prefix) for entry in self._list(prefix))
        return tuple(sorted({decoded_kind(name.rpartition("/")[0]) for name in names if name.endswith(SUFFIX)}))

    def scratch(self) -> AbstractContextManager[Path]:
        """Give a folder on the cache's file system, so that taking a file over is a rename."""
        return self.cache.scratch()

    def remove_abandoned_scratch(self) -> int:
        """Remove what killed processes of this machine left unfinished; return how many folders."""
        return self.cache.remove_abandoned_scratch()

    def remove_abandoned_uploads(self, older_than_s: float) -> int:
        """Drop the parts of uploads that never ended. See :meth:`Store.remove_abandoned_uploads`."""
        dropped = 0
        limit = time.time() - older_than_s
        with self._errors(self.uri):
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._key("objects/")):
                for upload in page.get("Uploads", []):
                    if upload["Initiated"].timestamp() <= limit:
                        self._client.abort_multipart_upload(
                            Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        dropped += 1
        return dropped

    def check_conditional_writes(self) -> None:
        """Make sure that of several writers at once the server lets exactly one win; some ignore the condition.

        Raises:
            StoreError: it lets several, so that two writers could clobber each other.
        """
        name = self._key(f"probe/{uuid.uuid4().hex}")
        with self._errors(self.uri), ThreadPoolExecutor(_RACERS) as pool:
            contents = [str(number).encode() for number in range(_RACERS)]
            wins = sum(pool.map(lambda content: put_bytes(self._client, self.bucket, name, content, {}), contents))
            self._client.delete_object(Bucket=self.bucket, Key=name)
        if wins != 1:
            raise StoreError(
                f"{self.uri}: {wins} of {_RACERS} writers of the same key were told that they won: the server does not "
                "keep to `If-None-Match: *`, so two writers could clobber each other; use a server or a release that "
                "does (see docs/store.md)"
            )

    def _head(self, key: str) -> HeadObjectOutputTypeDef | None:
        from botocore.exceptions import ClientError

        try:
            return self._client.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if is_missing(error):
                return None
            raise

    def _problem(self, sha256: str, size: int | None, head: HeadObjectOutputTypeDef) -> str | None:
        """Return what is known to be wrong with the copy of an object in the bucket."""
        if size is not None and head["ContentLength"] != size:
            return f"it has {head['ContentLength']} bytes instead of {size}"
        if head["Metadata"].get("sha256") != sha256:
            return "something else was written in its place"
        if self.cache.known_broken(sha256) == _copy_of(head):
            return "its content was found to differ from its digest before"
        return None

    def _refresh(self, key: str, head: HeadObjectOutputTypeDef) -> None:
        """Copy what is old onto itself, which makes it young; seldom, and within the server."""
        from botocore.exceptions import ClientError

        old = time.time() - head["LastModified"].timestamp() > REFRESH_AGE_S
        if old and head["ContentLength"] <= _COPY_LIMIT_BYTES:
            with contextlib.suppress(ClientError):  # it is gone, or was replaced: then another has made it young
                self._client.copy_object(
                    Bucket=self.bucket,
                    Key=key,
                    CopySource={"Bucket": self.bucket, "Key": key},
                    CopySourceIfMatch=head["ETag"],
                    Metadata=head["Metadata"],
                    MetadataDirective="REPLACE",
                )

    def _list(self, prefix: str, delimiter: str = "") -> Iterator[ObjectTypeDef]:
        with self._errors(f"s3://{self.bucket}/{prefix}"):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix, Delimiter=delimiter):
                yield from page.get("Contents", [])

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _object_key(self, sha256: str) -> str:
        return self._key(f"objects/{sha256}")

    def _object_uri(self, sha256: str) -> str:
        return f"{self.uri}/objects/{sha256}"

    def _record_key(self, kind: str, key: str) -> str:
        return self._key(f"records/{encoded_kind(kind)}/{encoded(key)}{SUFFIX}")

    def _record_uri(self, kind: str, key: str) -> str:
        return f"s3://{self.bucket}/{self._record_key(kind, key)}"

    def _errors(self, uri: str) -> AbstractContextManager[None]:
        return named_s3_errors(uri, getattr(self, "_client", None))


def _copy_of(head: HeadObjectOutputTypeDef) -> str:
    """Return what tells one copy of an object from another that took its place."""
    return f"{head['ETag']} {head['LastModified'].isoformat()}"


def _missing(uri: str) -> str:
    return f"{uri}: the object is missing; build again: the step that made it is redone"
