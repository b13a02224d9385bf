"""What the collector removes, and what it must never remove; on a folder and on S3."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bevformer_lib.errors import StoreError
from bevformer_lib.store.aliases import set_alias
from bevformer_lib.store.base import Store
from bevformer_lib.store.folder import FolderStore
from bevformer_lib.store.gc import collect_garbage, find_garbage
from bevformer_lib.store.run import find_step, run_step
from bevformer_lib.store.step import Artifact, Step, StepRecord
from bevformer_lib.store.verify import verify_store

NOW = -10.0
"""A grace period after which everything is old, also for a server that rounds its times up."""


def work(name: str) -> Any:
    def produce(folder: Path) -> Mapping[str, Any]:
        (folder / f"{name}.bin").write_text(f"content of {name}")
        return {}

    return produce


def do(store: Store, name: str, **inputs: Artifact) -> StepRecord:
    return run_step(store, Step(name, 1, inputs, part=None), work(name)).record


def chain(store: Store, suffix: str) -> list[StepRecord]:
    """Do two steps, of which the second is made from the first."""
    first = do(store, f"export-{suffix}", checkpoint=Artifact("c.pth", "c" * 64, 3, source="/c.pth"))
    return [first, do(store, f"convert-{suffix}", model=first.output(f"export-{suffix}.bin"))]


def publish(store: Store, build: str, steps: list[StepRecord]) -> None:
    store.put_record("builds", build, {"name": "tiny", "steps": [step.identity for step in steps]})


def digest(record: StepRecord) -> str:
    return next(iter(record.outputs.values())).sha256


def test_only_what_no_build_reaches_is_removed(any_store: Store) -> None:
    kept, lost = chain(any_store, "kept"), chain(any_store, "lost")
    publish(any_store, "build-1", kept[1:])

    garbage = find_garbage(any_store, grace_s=NOW)
    assert set(garbage.records) == {record.identity for record in lost}
    assert {entry.sha256 for entry in garbage.objects} == {digest(record) for record in lost}
    assert (garbage.builds, garbage.kept_objects) == ((), 2)
    assert find_step(any_store, lost[1].step) is not None, "finding removes nothing"

    assert collect_garbage(any_store, grace_s=NOW) == garbage
    assert all(find_step(any_store, record.step) for record in kept)
    assert not any(find_step(any_store, record.step) for record in lost)
    assert verify_store(any_store).defects == ()
    assert collect_garbage(any_store, grace_s=NOW).objects == ()


def test_what_is_young_is_kept_with_all_that_it_needs(any_store: Store) -> None:
    publish(any_store, "build-1", chain(any_store, "kept"))
    running = chain(any_store, "running")
    with any_store.scratch() as folder:
        (folder / "file").write_text("uploaded, not recorded yet")
        early = any_store.put_object(folder / "file").sha256
    garbage = collect_garbage(any_store, grace_s=3600)
    assert (garbage.records, garbage.objects) == ((), ())
    assert early in [entry.sha256 for entry in any_store.list_objects()]
    assert find_step(any_store, running[1].step) is not None
    assert [entry.sha256 for entry in find_garbage(any_store, grace_s=NOW).objects if entry.sha256 == early] == [early]


def test_builds_that_aliases_name_or_named_are_kept(any_store: Store) -> None:
    steps = {}
    for name in ("old", "named", "free", "new"):
        steps[name] = chain(any_store, name)
        publish(any_store, name, steps[name])
    set_alias(any_store, "release", "old")
    set_alias(any_store, "release", "named")
    os_times = {"old": 1.0, "named": 2.0, "free": 3.0, "new": 4.0}
    if isinstance(any_store, FolderStore):
        for name, seconds in os_times.items():
            os.utime(any_store.root / "records" / "builds" / f"{name}.json", (seconds, seconds))
        kept = 1
    else:
        kept = 0  # S3 tells times to the second, so the order of these four is not known

    garbage = collect_garbage(any_store, grace_s=NOW, keep_builds=kept)
    assert garbage.builds == (("free",) if kept else ("free", "new"))
    assert find_step(any_store, steps["old"][1].step) is not None
    assert find_step(any_store, steps["named"][1].step) is not None
    assert find_step(any_store, steps["free"][1].step) is None
    assert (find_step(any_store, steps["new"][1].step) is not None) == bool(kept)


def test_without_any_build_nothing_is_removed(any_store: Store) -> None:
    lost = chain(any_store, "lost")
    with pytest.raises(StoreError, match="holds no build, so all of it would be removed"):
        collect_garbage(any_store, grace_s=NOW)
    assert find_step(any_store, lost[1].step) is not None


def test_what_cannot_be_understood_is_kept_with_all_objects(any_store: Store) -> None:
    publish(any_store, "build-1", chain(any_store, "kept"))
    chain(any_store, "lost")
    any_store.put_record("foreign", "k", {"something": "else"})
    garbage = collect_garbage(any_store, grace_s=NOW)
    assert garbage.unreadable == ("foreign/k",)
    assert garbage.objects == ()
    assert any_store.get_record("foreign", "k") == {"something": "else"}


def test_a_build_that_cannot_be_read_stops_the_collection(any_store: Store) -> None:
    lost = chain(any_store, "lost")
    any_store.put_record("builds", "broken", {"stages": []})
    with pytest.raises(StoreError, match="record of a build: can't be read: steps: Field required"):
        collect_garbage(any_store, grace_s=NOW)
    assert find_step(any_store, lost[1].step) is not None


def test_reused_work_is_spared_by_the_grace_period(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    publish(store, "build-1", chain(store, "kept"))
    reused, unused = chain(store, "reused"), chain(store, "unused")
    long_ago = time.time() - 30 * 86400
    for path in store.root.rglob("*"):
        if path.is_file() and path.parent.name != "cache":
            os.utime(path, (long_ago, long_ago))
    assert chain(store, "reused") == reused
    collect_garbage(store)
    assert find_step(store, reused[1].step) is not None
    assert find_step(store, unused[1].step) is None


def test_verification_names_what_is_broken(any_store: Store) -> None:
    steps = chain(any_store, "a")
    found = verify_store(any_store)
    assert (found.objects, found.records, found.defects) == (2, 2, ())
    any_store.remove_object(digest(steps[0]))
    any_store.put_record("export-a", "bad", {"format": 1})
    defects = verify_store(any_store).defects
    assert len(defects) == 2
    assert any(digest(steps[0]) in defect and "is missing, but" in defect for defect in defects)
    assert any(defect.startswith("export-a/bad: ") for defect in defects)
