"""What a store is, wherever it keeps its content: in a folder or in an S3 bucket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from bevformer_lib.store.digests import DigestCache

BUILDS: Final = "builds"
"""Kind of the records of whole builds: ``{"steps": [identity of a step's record, ...], ...}`` under the build's id."""
ALIASES: Final = "aliases"
"""First part of the kinds that hold the history of a name; see :mod:`bevformer_lib.store.aliases`."""
RUNS: Final = "runs"
"""Kind of the records of what each run of a build did and why; they name no content."""
REFRESH_AGE_S: Final = 24 * 3600.0
"""What is used again and was not written or refreshed for so long is refreshed: the collector spares what is young."""


def holds_steps(kind: str) -> bool:
    """Return whether the records of a kind are those of steps."""
    return kind not in (BUILDS, RUNS) and kind.split("/")[0] != ALIASES


@dataclass(frozen=True)
class StoredObject:
    """Content as the store knows it.

    Attributes:
        sha256: hex digest; also the object's address.
        size: bytes.
    """

    sha256: str
    size: int


@dataclass(frozen=True)
class ObjectEntry:
    """An object in a listing.

    Attributes:
        sha256: its address.
        size: bytes.
        modified_at: when it was written or used for a new record last, seconds since the epoch.
    """

    sha256: str
    size: int
    modified_at: float


class Store(Protocol):
    """Content-addressed objects and small immutable JSON records.

    An object's address is the sha256 of its content, so writing one twice is harmless and two writers can't clobber
    each other. A record lives under (kind, key); a kind is a path of one or more ``/``-separated parts. Records are
    published after the objects that they name: who sees a record can read what it names.

    Attributes:
        digests: digests of local files that were not touched since they were read last.
    """

    digests: DigestCache

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

    def check_object(self, sha256: str, size: int | None = None, *, read: bool = False) -> None:
        """Make sure that :meth:`get_object` will give the object, as cheaply as the store can.

        Args:
            sha256: address of the object.
            size: bytes that it should have, if known.
            read: read the whole content where it is kept, whatever is remembered about it.

        Raises:
            StoreError: the object is missing, or its content is not what its digest says.
        """

    def list_objects(self) -> Iterator[ObjectEntry]:
        """Yield every object, in no order."""

    def remove_object(self, sha256: str) -> None:
        """Forget an object that no record names; no error if it is gone already."""

    def put_record(self, kind: str, key: str, content: Mapping[str, Any]) -> bool:
        """Publish a record unless there is one already; of several writers exactly one gets ``True``."""

    def get_record(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return a record's content, or ``None`` if there is none.

        Raises:
            StoreError: the record is there but unreadable.
        """

    def remove_record(self, kind: str, key: str) -> None:
        """Forget a record (whose objects turned out to be broken); no error if it is gone already."""

    def refresh_record(self, kind: str, key: str) -> None:
        """Note that a record is in use, so that it counts as young; no error if it is gone."""

    def list_records(self, kind: str) -> tuple[str, ...]:
        """Return the sorted keys directly under ``kind``."""

    def record_times(self, kind: str) -> dict[str, float]:
        """Return the keys directly under ``kind`` and when each was written or refreshed, seconds since the epoch."""

    def list_kinds(self) -> tuple[str, ...]:
        """Return the sorted kinds that hold a record."""

    def check_conditional_writes(self) -> None:
        """Make sure that of several writers of one name exactly one wins.

        Raises:
            StoreError: several do, so that two writers could clobber each other.
        """

    def scratch(self) -> AbstractContextManager[Path]:
        """Give an empty local folder for unfinished work; it is removed when the block ends, however it ends."""

    def remove_abandoned_scratch(self) -> int:
        """Remove the scratch folders of processes that were killed; return how many."""

    def remove_abandoned_uploads(self, older_than_s: float) -> int:
        """Remove uploads that never ended and are older than this; return how many."""
