"""Records of steps by their identity, ``<kind>/<key>``."""

from __future__ import annotations

from bevformer_lib.errors import StoreError
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import StepRecord


def find_record(store: Store, identity: str) -> StepRecord | None:
    """Return the record of a finished step, or ``None``.

    Raises:
        StoreError: the record is there but can't be read.
    """
    kind, _, key = identity.rpartition("/")
    content = store.get_record(kind, key)
    return None if content is None else StepRecord.from_dict(content)


def read_step(store: Store, identity: str) -> StepRecord:
    """Return the record of a finished step.

    Raises:
        StoreError: there is none, or it can't be read.
    """
    record = find_record(store, identity)
    if record is None:
        raise StoreError(f"{store.uri}: holds no record of step {identity}; build again")
    return record
