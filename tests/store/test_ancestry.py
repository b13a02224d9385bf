from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bevformer_lib.cli.ancestry import command, describe
from bevformer_lib.errors import StoreError
from bevformer_lib.store.ancestry import ancestry
from bevformer_lib.store.folder import FolderStore
from bevformer_lib.store.run import run_step
from bevformer_lib.store.step import Artifact, Step

CHECKPOINT = Artifact("tiny.pth", "c" * 64, 10, source="/data/tiny.pth")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def writing(name: str) -> Any:
    def produce(folder: Path) -> Mapping[str, Any]:
        (folder / name).write_text(name)
        return {}

    return produce


def quantised(store: FolderStore) -> Artifact:
    export = Step("export", 1, {"checkpoint": CHECKPOINT}, packages={"torch": "2.13.0"})
    model = run_step(store, export, writing("model.onnx")).record.output("model.onnx")
    quantize = Step("quantize", 3, {"model": model}, {"method": "QDQ"})
    return run_step(store, quantize, writing("model_int8.onnx")).record.output("model_int8.onnx")


def test_the_tree_reaches_the_files_from_outside(store: FolderStore) -> None:
    root = ancestry(store, quantised(store).sha256)

    assert root.role == "model_int8.onnx"
    assert root.record is not None
    assert root.record.step.name == "quantize"
    (model,) = root.parents
    assert model.role == "model"
    assert model.record is not None
    assert model.record.step.packages == {"torch": "2.13.0"}
    (checkpoint,) = model.parents
    assert (checkpoint.artifact, checkpoint.record, checkpoint.parents) == (CHECKPOINT, None, ())


def test_a_few_digits_are_enough(store: FolderStore) -> None:
    sha256 = quantised(store).sha256
    assert ancestry(store, sha256[:8].upper()).artifact.sha256 == sha256


def test_unknown_and_too_short_digests_are_refused(store: FolderStore) -> None:
    with pytest.raises(StoreError, match=r"ffffffff: no step recorded in file:.* made it"):
        ancestry(store, "ffffffff")
    with pytest.raises(StoreError, match="at least 6 digits"):
        ancestry(store, "fff")


def test_the_command_prints_the_tree_of_a_file(
    store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = quantised(store)
    copy = tmp_path / "copied somewhere.onnx"
    copy.write_bytes(store.get_object(artifact.sha256).read_bytes())

    command(str(copy), store=str(store.root))

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "made by quantize" in lines[0]
    assert "method=QDQ; version 3" in lines[0]
    assert "made by export" in lines[1]
    assert "torch 2.13.0" in lines[1]
    assert "from /data/tiny.pth" in lines[2]


def test_a_step_is_told_once_and_long_settings_only_on_demand(
    store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    export = Step("export", 1, {"checkpoint": CHECKPOINT}, {"model": {f"setting {n}": n for n in range(30)}})
    export = replace(export, packages={"bevformer_lib.export": "0123456789ab", "onnx": "1.23"})
    graph = run_step(store, export, writing("model.onnx")).record.output("model.onnx")
    histories = {
        name: run_step(store, Step("histories", 1, {"graph": graph}, part=name), writing(name)).record.output(name)
        for name in ("scene-0", "scene-1")
    }
    convert = Step("convert", 1, {**histories, "graph": graph})
    sha256 = run_step(store, convert, writing("int8.onnx")).record.output("int8.onnx").sha256

    command(sha256, store=str(store.root))
    lines = capsys.readouterr().out.splitlines()
    assert [line.lstrip("│├└─ ").split()[0] for line in lines] == [
        *("int8.onnx", "graph", "checkpoint", "scene-0", "graph", "scene-1", "graph")
    ]
    assert "(model=(30 entries); version 1; onnx 1.23)" in lines[1]
    assert all(lines[number].endswith("made by export, as above") for number in (4, 6))

    command(sha256, store=str(store.root), full=True)
    full = capsys.readouterr().out
    assert "'setting 29': 29" in full
    assert "bevformer_lib.export 0123456789ab" in full


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a store"):
        command("abcdef", store=str(tmp_path))


def test_a_lost_record_is_told(store: FolderStore) -> None:
    artifact = quantised(store)
    model = ancestry(store, artifact.sha256).parents[0].record
    assert model is not None
    store.remove_record("export", model.step.key)
    assert f"from export/{model.step.key}" in describe(ancestry(store, artifact.sha256).parents[0])
