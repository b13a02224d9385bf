"""Where an artifact comes from, back to the files from outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bevformer_lib.errors import StoreError
from bevformer_lib.store.base import Store, holds_steps
from bevformer_lib.store.records import find_record
from bevformer_lib.store.step import Artifact, StepRecord

_MIN_DIGITS = 6


@dataclass(frozen=True)
class Ancestor:
    """A node of an ancestry.

    Attributes:
        role: what the artifact was to the step that used it (the input's name); the artifact's own name at the root.
        artifact: the content.
        record: of the step that made it, ``None`` for content from outside (or whose record is gone).
        parents: what that step was made from.
    """

    role: str
    artifact: Artifact
    record: StepRecord | None
    parents: tuple[Ancestor, ...]


def ancestry(store: Store, sha256: str) -> Ancestor:
    """Return the tree of everything an artifact was made from.

    Args:
        store: holds the records.
        sha256: digest of an output of a step, or its first digits (six at least).

    Raises:
        StoreError: no step made such content, or several contents begin with these digits.
    """
    artifact = _find_output(store, sha256)
    return _ancestor(store, artifact.name, artifact, {})


def _ancestor(store: Store, role: str, artifact: Artifact, known: dict[str, Ancestor]) -> Ancestor:
    """Return a node; ``known`` holds one of every step, since hundreds of scenes share their model."""
    if artifact.made_by is None:
        return Ancestor(role, artifact, None, ())
    same_step = known.get(artifact.made_by)
    if same_step is not None:
        return Ancestor(role, artifact, same_step.record, same_step.parents)
    record = find_record(store, artifact.made_by)
    inputs = record.step.inputs if record is not None else {}
    parents = tuple(_ancestor(store, name, part, known) for name, part in inputs.items())
    known[artifact.made_by] = Ancestor(role, artifact, record, parents)
    return known[artifact.made_by]


def _find_output(store: Store, sha256: str) -> Artifact:
    if len(sha256) < _MIN_DIGITS:
        raise StoreError(f"{sha256!r}: give at least {_MIN_DIGITS} digits of the sha256")
    found: dict[str, Artifact] = {}
    for record in _all_records(store):
        for artifact in record.outputs.values():
            if artifact.sha256.startswith(sha256.lower()):
                found.setdefault(artifact.sha256, artifact)
    if not found:
        raise StoreError(f"{sha256}: no step recorded in {store.uri} made it")
    if len(found) > 1:
        raise StoreError(f"{sha256}: several artifacts begin so: {', '.join(sorted(found))}; give more digits")
    return found.popitem()[1]


def _all_records(store: Store) -> Iterator[StepRecord]:
    for kind in filter(holds_steps, store.list_kinds()):
        for key in store.list_records(kind):
            record = find_record(store, f"{kind}/{key}")
            if record is not None:
                yield record
