from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bevformer_lib.errors import StoreError
from bevformer_lib.store.folder import FolderStore
from bevformer_lib.store.run import find_step, run_step
from bevformer_lib.store.step import Artifact, Step, StepRecord


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def make_step(**changes: Any) -> Step:
    fields: dict[str, Any] = {
        "name": "pack",
        "version": 1,
        "inputs": {"model": Artifact("model.onnx", "a" * 64, 3, source="/model.onnx")},
        "parameters": {"num_samples": 32},
        "packages": {"onnx": "1.16"},
    }
    return Step(**(fields | changes))


class Work:
    """Counts how often it was done."""

    def __init__(self, content: str = "done") -> None:
        self.times = 0
        self.content = content

    def __call__(self, folder: Path) -> Mapping[str, Any]:
        self.times += 1
        (folder / "sub").mkdir()
        (folder / "result.txt").write_text(self.content)
        (folder / "sub" / "other.txt").write_text(self.content + "!")
        return {"shape": [1, 2]}


def test_a_step_is_done_once(store: FolderStore) -> None:
    work = Work()
    first = run_step(store, make_step(), work)
    second = run_step(store, make_step(), work)

    assert work.times == 1
    assert (first.ran, first.reason) == (True, "not done before")
    assert not second.ran
    assert second.reason == f"unchanged since {first.record.created_at}"
    assert second.record == first.record


def test_a_record_says_everything(store: FolderStore) -> None:
    step = make_step(part="Szene 1")
    record = run_step(store, step, Work()).record

    assert record.step == step
    assert set(record.outputs) == {"result.txt", "sub/other.txt"}
    output = record.output("result.txt")
    assert (output.name, output.size, output.made_by) == ("result.txt", 4, f"pack/Szene 1/{step.key}")
    assert store.get_object(output.sha256).read_text() == "done"
    assert record.facts == {"shape": [1, 2]}
    content = store.get_record("pack/Szene 1", step.key)
    assert content is not None
    assert StepRecord.from_dict(content) == record
    with pytest.raises(StoreError, match=r"no output 'absent', only result.txt, sub/other.txt"):
        record.output("absent")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"parameters": {"num_samples": 16}}, "num_samples changed 32 -> 16"),
        ({"version": 2}, "code of pack changed (version 1 -> 2)"),
        ({"packages": {"onnx": "1.17"}}, "onnx changed 1.16 -> 1.17"),
        (
            {"inputs": {"model": Artifact("model.onnx", "b" * 64, 3)}},
            "input model changed aaaaaaaaaaaa -> bbbbbbbbbbbb",
        ),
        ({"inputs": {}, "parameters": {"num_samples": 32, "seed": 0}}, "seed added, input model removed"),
    ],
)
def test_a_change_redoes_the_step_and_is_named(store: FolderStore, changes: dict[str, Any], reason: str) -> None:
    work = Work()
    run_step(store, make_step(), work)
    result = run_step(store, make_step(**changes), work)
    assert (result.ran, result.reason, work.times) == (True, reason, 2)


def test_names_and_origins_of_inputs_do_not_redo_a_step(store: FolderStore) -> None:
    run_step(store, make_step(), Work())
    moved = make_step(inputs={"model": Artifact("renamed.onnx", "a" * 64, 3, source="/elsewhere")})
    assert not run_step(store, moved, Work()).ran


def test_going_back_reuses_the_older_result(store: FolderStore) -> None:
    work = Work()
    run_step(store, make_step(), work)
    run_step(store, make_step(parameters={"num_samples": 16}), work)
    assert not run_step(store, make_step(), work).ran
    assert work.times == 2


def test_a_failed_step_leaves_nothing_and_is_done_again(store: FolderStore) -> None:
    def fail(folder: Path) -> Mapping[str, Any]:
        (folder / "result.txt").write_text("half")
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        run_step(store, make_step(), fail)
    assert find_step(store, make_step()) is None
    assert [path for path in store.root.rglob("*") if path.is_file() and path.parent.name != "cache"] == []
    assert run_step(store, make_step(), Work()).reason == "not done before"


def test_a_full_disk_while_working_is_said(store: FolderStore) -> None:
    def fill(folder: Path) -> Mapping[str, Any]:
        raise OSError(errno.EDQUOT, "Disk quota exceeded", str(folder / "big.bin"))

    with pytest.raises(StoreError, match=r"big\.bin: Disk quota exceeded; free some space"):
        run_step(store, make_step(), fill)


@pytest.mark.parametrize("damage", ["corrupt", "remove"])
@pytest.mark.parametrize("content", ["done", "done otherwise"])
def test_a_broken_object_is_remade(store: FolderStore, damage: str, content: str) -> None:
    path = store.get_object(run_step(store, make_step(), Work()).record.output("result.txt").sha256)
    path.chmod(0o644)
    if damage == "corrupt":
        path.write_text("rotten")
    else:
        path.unlink()

    assert find_step(store, make_step()) is None
    result = run_step(store, make_step(), Work(content))
    assert result.ran
    assert path.name in result.reason
    assert ("corrupted" if damage == "corrupt" else "missing") in result.reason
    assert find_step(store, make_step()) is not None
    assert store.get_object(result.record.output("result.txt").sha256).read_text() == content


def test_a_damaged_record_is_replaced(store: FolderStore) -> None:
    run_step(store, make_step(), Work())
    (store.root / "records" / "pack" / f"{make_step().key}.json").write_text("{")
    assert "not JSON" in run_step(store, make_step(), Work()).reason
    assert not run_step(store, make_step(), Work()).ran


def test_who_publishes_second_returns_the_first_record(store: FolderStore) -> None:
    def overtaken(folder: Path) -> Mapping[str, Any]:
        run_step(store, make_step(), Work("first"))
        return Work("second")(folder)

    record = run_step(store, make_step(), overtaken).record
    assert store.get_object(record.output("result.txt").sha256).read_text() == "first"


def test_a_step_without_output_is_a_defect(store: FolderStore) -> None:
    with pytest.raises(StoreError, match="step pack: wrote no output"):
        run_step(store, make_step(), lambda folder: {})
