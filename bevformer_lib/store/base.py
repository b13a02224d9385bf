"""What a store is, wherever it keeps its content: a folder now, an S3 bucket behind the same interface."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class StoredObject:
    """Content as the store knows it.

    Attributes:
        sha256: hex digest; also the object's address.
        size: bytes.
    """

    sha256: str
    size: int


class Store(Protocol):
    """Content-addressed objects and small immutable JSON records.

    An object's address is the sha256 of its content, so writing one twice is harmless and two writers can't clobber
    each other. A record lives under (kind, key); a kind is a path of one or more ``/``-separated parts. Records are
    published after the objects that they name: who sees a record can read what it names.
    """

    @property
    def uri(self) -> str:
        """The store's address, without a trailing slash; an object's URI is ``<uri>/objects/<sha256>``."""

    def put_object(self, path: Path) -> StoredObject:
        """Take a finished file over as an object; ``path`` may be gone afterwards.

        Raises:
            StoreError: no space left; nothing half-written is visible.
        """

    def get_object(self, sha256: str) -> Path:
        """Return a local, read-only file with the object's verified content.

        Raises:
            StoreError: the object is missing, or its content is not what its digest says.
        """

    def has_object(self, sha256: str) -> bool:
        """Return whether the object is present; its content is not checked."""

    def put_record(self, kind: str, key: str, content: Mapping[str, Any]) -> bool:
        """Publish a record unless there is one already; of several writers exactly one gets ``True``."""

    def get_record(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return a record's content, or ``None`` if there is none.

        Raises:
            StoreError: the record is there but unreadable.
        """

    def remove_record(self, kind: str, key: str) -> None:
        """Forget a record (whose objects turned out to be broken); no error if it is gone already."""

    def list_records(self, kind: str) -> tuple[str, ...]:
        """Return the sorted keys directly under ``kind``."""

    def list_kinds(self) -> tuple[str, ...]:
        """Return the sorted kinds that hold a record."""

    def scratch(self) -> AbstractContextManager[Path]:
        """Give an empty local folder for unfinished work; it is removed when the block ends, however it ends."""
