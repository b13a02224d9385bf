"""Runs are recorded however they end, and found by every name."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bevformer_lib.cli.explain import command, steps_table
from bevformer_lib.errors import StoreError
from bevformer_lib.pipeline.builds import record_build
from bevformer_lib.pipeline.executors import DirectExecutor
from bevformer_lib.pipeline.runs import RunStep, find_run, recorded_run
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.store.base import BUILDS, RUNS, Store
from bevformer_lib.store.folder import FolderStore
from bevformer_lib.store.gc import collect_garbage
from bevformer_lib.store.step import Step


class Count:
    """A step that writes a number."""

    def __init__(self, number: int) -> None:
        self.number = number

    @property
    def step(self) -> Step:
        return Step("count", 1, {}, {"number": self.number})

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        if self.number < 0:
            raise ValueError("negative\nand more")
        (folder / "number").write_text(str(self.number))
        return {}


def build(store: Store, *numbers: int, names: tuple[str, ...] = ()) -> str:
    with recorded_run(store, DirectExecutor(store), *names) as (executor, run):
        made = record_build(store, "toy", [executor.do(Count(number)) for number in numbers], {})
        run.build = made.identity
    return made.identity


def test_a_run_says_what_made_each_step_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = FolderStore(tmp_path)
    build(store, 1, 2, names=("0a1b-flow-run", "nightly toy"))
    run = find_run(store, "nightly")
    assert run == find_run(store, "0a1b") == find_run(store, "latest") == find_run(store, run.key)
    assert [(step.ran, step.reason) for step in run.steps] == [
        (True, "not done before"),
        (True, "number changed 1 -> 2"),
    ]
    command("nightly", store=str(tmp_path))
    printed = capsys.readouterr().out
    assert "number changed 1 -> 2" in printed
    assert "2 of 2 steps done" in printed


def test_what_made_a_step_run_is_never_cut() -> None:
    module = "bevformer_lib.evaluate.diagnosis"
    console = Console(width=80, file=io.StringIO())
    console.print(steps_table([RunStep("record scene-0000", "record/0", True, f"{module} changed 1 -> 2", 1.0)]))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in printed
    assert module in "".join(line.split("│")[3].strip() for line in printed.splitlines() if "│" in line)


def test_a_build_means_its_newest_run(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    identity = build(store, 1)
    assert build(store, 1, names=("second",)) == identity
    assert find_run(store, identity[:6]).names == ["second"]
    assert not find_run(store, identity[:6]).steps[0].ran


def test_a_run_that_failed_is_recorded_as_far_as_it_got(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with pytest.raises(ValueError, match="negative"):
        build(store, 1, -1)
    run = find_run(store, "latest")
    assert (run.outcome, run.build) == ("ValueError: negative", None)
    assert [step.title for step in run.steps] == ["count"]


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with pytest.raises(StoreError, match="holds no run"):
        find_run(store, "latest")
    build(store, 1, names=("same",))
    build(store, 2, names=("same",))
    with pytest.raises(StoreError, match="several runs"):
        find_run(store, "same")
    with pytest.raises(StoreError, match="no such run"):
        find_run(store, "other")


def test_the_collector_takes_the_runs_of_builds_that_go(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    build(store, 1)
    kept = build(store, 2)
    collect_garbage(store, grace_s=0.0, keep_builds=1)
    assert store.list_records(BUILDS) == (kept,)
    assert [find_run(store, key).build for key in store.list_records(RUNS)] == [kept]
