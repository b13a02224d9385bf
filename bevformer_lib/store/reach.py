"""What published builds reach: the records of their steps, of the steps before those, and all that these name."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bevformer_lib.errors import StoreError
from bevformer_lib.plain_data import from_plain
from bevformer_lib.store.base import BUILDS, Store, holds_steps
from bevformer_lib.store.step import Artifact, StepRecord

_log = logging.getLogger(__name__)


@dataclass
class Reach:
    """What is reached from some records.

    Attributes:
        records: identities, ``<kind>/<key>``.
        objects: digests.
        missing: identities that are named and not there, each with the identity of who names it.
    """

    records: set[str] = field(default_factory=set)
    objects: set[str] = field(default_factory=set)
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Build:
    """What a build's record names."""

    steps: tuple[str, ...]
    outputs: Mapping[str, Artifact] = field(default_factory=dict)


def reach(store: Store, roots: Iterable[str]) -> Reach:
    """Return what is reached from the records ``roots`` (identities) through steps, inputs and outputs."""
    found = Reach()
    waiting = [(identity, "") for identity in roots]
    while waiting:
        identity, named_by = waiting.pop()
        if identity in found.records or identity in found.missing:
            continue
        kind, _, key = identity.rpartition("/")
        content = store.get_record(kind, key)
        if content is None:
            found.missing[identity] = named_by
            continue
        found.records.add(identity)
        steps, artifacts = named_by_record(kind, content)
        found.objects.update(artifact.sha256 for artifact in artifacts)
        steps += [artifact.made_by for artifact in artifacts if artifact.made_by is not None]
        waiting += [(step, identity) for step in steps]
    return found


def named_by_record(kind: str, content: dict[str, Any]) -> tuple[list[str], list[Artifact]]:
    """Return the identities of steps and the artifacts that a record names.

    Raises:
        StoreError: it is neither of a step nor of a build.
    """
    if holds_steps(kind):
        record = StepRecord.from_dict(content)
        return [], [*record.step.inputs.values(), *record.outputs.values()]
    if kind == BUILDS:
        try:
            build = from_plain(_Build, content)
        except ValueError as error:
            raise StoreError(f"record of a build: {error}; build again") from None
        return list(build.steps), list(build.outputs.values())
    return [], []


def readable(store: Store, identity: str) -> bool:
    """Return whether a record is one that :func:`reach` can follow; what it can't is told once, in the log."""
    kind, _, key = identity.rpartition("/")
    try:
        content = store.get_record(kind, key)
        if content is not None:
            named_by_record(kind, content)
    except StoreError as error:
        _log.warning("%s: %s", identity, error)
        return False
    return True
