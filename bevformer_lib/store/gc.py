"""Removing what no published build needs any more."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from bevformer_lib.errors import StoreError
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.store.aliases import alias_history, list_aliases
from bevformer_lib.store.base import BUILDS, RUNS, ObjectEntry, Store, holds_steps
from bevformer_lib.store.reach import Reach, reach, readable

DEFAULT_GRACE_S: Final = 7 * 24 * 3600.0
_REMOVALS_AT_ONCE: Final = 8


@dataclass(frozen=True)
class Garbage:
    """What may be removed.

    Attributes:
        builds: ids of builds that are neither named by an alias nor among those to keep.
        records: identities of steps that no kept build reaches, and of the runs of builds that are not kept.
        objects: content that no kept record names.
        unreadable: identities of old records that can't be understood; as long as there are any, no object goes, since
            they may name it.
        kept_objects: number of objects that stay.
        kept_bytes: their bytes.
    """

    builds: tuple[str, ...]
    records: tuple[str, ...]
    objects: tuple[ObjectEntry, ...]
    unreadable: tuple[str, ...]
    kept_objects: int
    kept_bytes: int

    @property
    def num_bytes(self) -> int:
        """Bytes of the objects that may go."""
        return sum(entry.size for entry in self.objects)


def find_garbage(
    store: Store,
    *,
    grace_s: float = DEFAULT_GRACE_S,
    keep_builds: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> Garbage:
    """Return what no published build reaches and what was not written or used for ``grace_s``; removes nothing.

    Kept are: builds that an alias names or ever named, the newest ``keep_builds`` builds (all, if left out), whatever
    is younger than the grace period, records that can't be understood, and everything that any of these reaches.

    Raises:
        StoreError: the store holds no build, so that everything would be garbage; or a kept build names a record that
            can't be read, so that what it needs is unknown.
    """
    limit = time.time() - grace_s
    builds = store.record_times(BUILDS)
    named = {entry.target for name in list_aliases(store) for entry in alias_history(store, name)}
    if not builds:
        raise StoreError(f"{store.uri}: holds no build, so all of it would be removed; run `bevformer build` first")
    newest = sorted(builds, key=lambda key: builds[key], reverse=True)
    kept_builds = {
        *newest[:keep_builds],
        *(key for key in builds if key in named or builds[key] > limit),
    }
    times = {
        f"{kind}/{key}": modified
        for kind in store.list_kinds()
        if holds_steps(kind)
        for key, modified in store.record_times(kind).items()
    }
    old = {identity for identity, modified in times.items() if modified <= limit}
    targets = {target for target in named if target in times}
    roots = {f"{BUILDS}/{key}" for key in kept_builds} | targets | (set(times) - old)
    on_progress("reading records", 0, len(times))
    found = reach(store, sorted(roots))
    garbage = sorted(identity for identity in old - found.records if readable(store, identity))
    unreadable = sorted(old - found.records - set(garbage))
    garbage += _old_runs(store, limit, kept_builds)
    on_progress("reading records", len(times), len(times))
    return _with_objects(store, found, limit, sorted(set(builds) - kept_builds), garbage, unreadable)


def _old_runs(store: Store, limit: float, kept_builds: set[str]) -> list[str]:
    """Return the identities of old runs whose build is not kept."""
    old = sorted(key for key, modified in store.record_times(RUNS).items() if modified <= limit)
    return [f"{RUNS}/{key}" for key in old if (store.get_record(RUNS, key) or {}).get("build") not in kept_builds]


def _with_objects(
    store: Store, found: Reach, limit: float, builds: list[str], records: list[str], unreadable: list[str]
) -> Garbage:
    objects, kept_objects, kept_bytes = [], 0, 0
    for entry in store.list_objects():
        if entry.sha256 in found.objects or entry.modified_at > limit or unreadable:
            kept_objects += 1
            kept_bytes += entry.size
        else:
            objects.append(entry)
    objects.sort(key=lambda entry: entry.sha256)
    return Garbage(tuple(builds), tuple(records), tuple(objects), tuple(unreadable), kept_objects, kept_bytes)


def collect_garbage(
    store: Store,
    *,
    grace_s: float = DEFAULT_GRACE_S,
    keep_builds: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> Garbage:
    """Remove what :func:`find_garbage` finds: builds first, then records, then objects; return what was removed.

    After a crash at any moment every record that is left still names only what is there, and the next run removes the
    rest. Uploads that never ended and are older than the grace period are dropped as well.

    Raises:
        StoreError: as :func:`find_garbage`.
    """
    garbage = find_garbage(store, grace_s=grace_s, keep_builds=keep_builds, on_progress=on_progress)
    for key in garbage.builds:
        store.remove_record(BUILDS, key)
    for identity in garbage.records:
        kind, _, key = identity.rpartition("/")
        store.remove_record(kind, key)
    with ThreadPoolExecutor(_REMOVALS_AT_ONCE) as pool:
        removed = pool.map(store.remove_object, [entry.sha256 for entry in garbage.objects])
        for number, _ in enumerate(removed, start=1):
            on_progress("removing objects", number, len(garbage.objects))
    store.remove_abandoned_scratch()
    store.remove_abandoned_uploads(grace_s)
    return garbage
