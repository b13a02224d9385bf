"""Reading everything that a store holds, to know that it is what it should be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from bevformer_lib.errors import StoreError
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.store.base import ObjectEntry, Store
from bevformer_lib.store.reach import named_by_record

_READS_AT_ONCE: Final = 4


@dataclass(frozen=True)
class Verification:
    """What reading everything found.

    Attributes:
        defects: one sentence for each broken object, missing object or unreadable record.
    """

    objects: int
    num_bytes: int
    records: int
    defects: tuple[str, ...]


def verify_store(store: Store, *, on_progress: ProgressCallback = no_progress) -> Verification:
    """Read every object in full where it is kept, and compare; check that records name what is there.

    Changes nothing. What is broken is redone by the next build that needs it.
    """
    entries = list(store.list_objects())
    outputs, defects, records = _read_records(store)
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        for number, problem in enumerate(pool.map(lambda entry: _problem(store, entry), entries), start=1):
            defects += [problem] if problem is not None else []
            on_progress("reading objects", number, len(entries))
    present = {entry.sha256 for entry in entries}
    for sha256, named_by in sorted(outputs.items()):
        if sha256 not in present:
            defects.append(f"{store.uri}/objects/{sha256}: is missing, but {named_by} made it")
    return Verification(len(entries), sum(entry.size for entry in entries), records, tuple(defects))


def _problem(store: Store, entry: ObjectEntry) -> str | None:
    try:
        store.check_object(entry.sha256, entry.size, read=True)
    except StoreError as error:
        return str(error)
    return None


def _read_records(store: Store) -> tuple[dict[str, str], list[str], int]:
    """Return output -> record that names it, what is wrong with records, and how many there are."""
    outputs: dict[str, str] = {}
    defects, records = [], 0
    for kind in store.list_kinds():
        for key in store.list_records(kind):
            records += 1
            try:
                content = store.get_record(kind, key)
                artifacts = [] if content is None else named_by_record(kind, content)[1]
            except StoreError as error:
                defects.append(f"{kind}/{key}: {error}")
                continue
            outputs |= {artifact.sha256: f"{kind}/{key}" for artifact in artifacts if artifact.source is None}
    return outputs, defects, records
