"""`bevformer extract-config`, run as the command line runs it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from bevformer_lib.cli.app import LIBRARY_COMMANDS, run
from bevformer_lib.config.camera_capacity import CameraCapacity, PillarGrid
from bevformer_lib.config.inference_config import inference_config_of, read_inference_config
from bevformer_lib.config.presets import PRESETS
from bevformer_lib.export.provenance import Provenance, write_provenance
from tests.config.support import FIXTURES
from tests.support.toy_graph import write_toy_graph


@pytest.mark.parametrize("source", ["tiny", str(FIXTURES / "bevformer" / "tiny.py")])
def test_preset_and_file_give_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str) -> None:
    output = tmp_path / "out" / "inference_config.json"
    assert run(LIBRARY_COMMANDS, ["extract-config", source, "--output", str(output)]) == 0
    assert read_inference_config(output) == inference_config_of(PRESETS["tiny"])
    assert "BEV 50 x 50, 900 queries, 10 classes, images 480 x 800" in capsys.readouterr().out


def test_image_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "inference_config.json"
    arguments = ["extract-config", "small", "--output", str(output), "--image-size", "256x448"]
    assert run(LIBRARY_COMMANDS, arguments) == 0
    assert "images 256 x 448" in capsys.readouterr().out


def test_hostile_config_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flag = tmp_path / "executed"
    config = tmp_path / "bad.py"
    config.write_text(f"import os\nos.system('touch {flag}')\n")
    output = tmp_path / "inference_config.json"
    assert run(LIBRARY_COMMANDS, ["extract-config", str(config), "--output", str(output)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {config}:2: a call of .system() is not allowed")
    assert list(tmp_path.iterdir()) == [config]


def test_wrong_image_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "inference_config.json"
    assert run(LIBRARY_COMMANDS, ["extract-config", "tiny", "--output", str(output), "--image-size", "big"]) == 1
    assert "'big' is not HEIGHTxWIDTH" in capsys.readouterr().err
    assert not output.exists()


def graph_of_tiny(path: Path, capacity: CameraCapacity | None) -> Path:
    """Write a graph that says that it was exported from Tiny."""
    model, tiny = onnx.load(str(write_toy_graph(path))), PRESETS["tiny"]
    write_provenance(model, Provenance("tiny.pth", "c" * 64, tiny.name, tiny.digest(), tiny.image_hw, 17, "test", {}))
    for key, value in (capacity.to_metadata() if capacity else {}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("cameras_per_query", [3, None])
def test_the_room_of_the_exported_graph(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cameras_per_query: int | None
) -> None:
    capacity = CameraCapacity(cameras_per_query, PillarGrid.of(PRESETS["tiny"])) if cameras_per_query else None
    graph, output = graph_of_tiny(tmp_path / "tiny.onnx", capacity), tmp_path / "inference_config.json"
    assert run(LIBRARY_COMMANDS, ["extract-config", "tiny", "--onnx", str(graph), "--output", str(output)]) == 0
    assert read_inference_config(output) == inference_config_of(PRESETS["tiny"], capacity)
    assert ("3 cameras per BEV cell" in capsys.readouterr().out) is bool(cameras_per_query)


def test_a_graph_of_another_config_or_of_nobody_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capacity, output = CameraCapacity(2, PillarGrid.of(PRESETS["tiny"])), tmp_path / "inference_config.json"
    graph, foreign = graph_of_tiny(tmp_path / "tiny.onnx", capacity), write_toy_graph(tmp_path / "toy.onnx")
    for source, given in (("small", graph), ("tiny", foreign)):
        assert run(LIBRARY_COMMANDS, ["extract-config", source, "--onnx", str(given), "--output", str(output)]) == 1
    said = capsys.readouterr().err
    assert f"{graph}: was exported from another model config ({PRESETS['tiny'].name}, images of 480 x 800)" in said
    assert f"{foreign} does not say where it comes from" in said
    assert not output.exists()
