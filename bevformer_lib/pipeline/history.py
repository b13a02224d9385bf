"""What happened in a store: builds, and which of them was published when."""

from __future__ import annotations

from dataclasses import dataclass

from bevformer_lib.pipeline.builds import Build, read_build
from bevformer_lib.pipeline.gates import GATES, LATEST, read_verdict
from bevformer_lib.store.aliases import alias_history
from bevformer_lib.store.base import BUILDS, Store


@dataclass(frozen=True)
class Event:
    """A build, or its publication.

    Attributes:
        at: UTC, ISO 8601.
        build: id.
        what: ``built`` or ``published``.
        model: the build's; empty where the build is gone.
        detail: what its gates said, or why it was published.
    """

    at: str
    build: str
    what: str
    model: str
    detail: str


def history(store: Store) -> tuple[Event, ...]:
    """Return all events, the oldest first.

    Raises:
        StoreError: a record or a verdict can't be read.
    """
    builds = {identity: read_build(store, identity) for identity in store.list_records(BUILDS)}
    events = [
        Event(build.created_at, identity, "built", build.name, _gates(store, build))
        for identity, build in builds.items()
    ]
    for entry in alias_history(store, LATEST):
        model = builds[entry.target].name if entry.target in builds else ""
        events.append(Event(entry.set_at, entry.target, "published", model, entry.note))
    return tuple(sorted(events, key=lambda event: event.at))


def _gates(store: Store, build: Build) -> str:
    if GATES not in build.outputs:
        return "built without gates"
    verdict = read_verdict(store, build)
    if not verdict.failed:
        return f"passed {verdict.policy}"
    return f"failed {', '.join(dict.fromkeys(result.name for result in verdict.failed))}"
