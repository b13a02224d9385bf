from __future__ import annotations

import json
from pathlib import Path

import pytest

from bevformer_lib.calibration.archive import read_calibration
from tests.support.calibration import ToyWorld
from tests.support.commands import bevformer
from tests.support.toy_graph import write_toy_graph

COMMAND = "prepare-calibration"


def test_from_scenes(
    toy_world: ToyWorld, config_json: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (COMMAND, config_json, toy_world.scenes_root, toy_world.model, "--output-dir", tmp_path / "set")
    assert bevformer(*arguments, "--num-samples", "5", "--seed", "3") == 0
    assert "5 samples packed" in capsys.readouterr().out
    assert read_calibration(tmp_path / "set").num_samples == 5
    assert json.loads((tmp_path / "set" / "calibration_manifest.json").read_text())["seed"] == 3


def test_from_extracted_frames_the_set_is_the_same(toy_world: ToyWorld, config_json: Path, tmp_path: Path) -> None:
    places = (config_json, toy_world.scenes_root, toy_world.model)
    data = tmp_path / "quantization_data"
    assert bevformer("extract-quantization-data", *places, "--output-dir", data) == 0
    assert bevformer(COMMAND, *places, "--output-dir", tmp_path / "run", "--num-samples", "4") == 0
    taken = (COMMAND, config_json, "--quantization-data", data, "--num-samples", "4")
    assert bevformer(*taken, "--output-dir", tmp_path / "taken") == 0
    for path in (tmp_path / "run").iterdir():
        assert path.read_bytes() == (tmp_path / "taken" / path.name).read_bytes()


def test_extracted_with_another_model(
    toy_world: ToyWorld, config_json: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, places = tmp_path / "quantization_data", (config_json, toy_world.scenes_root)
    assert bevformer("extract-quantization-data", *places, toy_world.model, "--output-dir", data) == 0
    other = write_toy_graph(tmp_path / "other.onnx", decoder_layers=3)
    arguments = (COMMAND, *places, other, "--quantization-data", data, "--output-dir", tmp_path / "set")
    assert bevformer(*arguments, "--num-samples", "4") == 1
    assert "was extracted with another model" in capsys.readouterr().err


def test_more_samples_than_frames(
    toy_world: ToyWorld, config_json: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (COMMAND, config_json, toy_world.scenes_root, toy_world.model, "--output-dir", tmp_path / "set")
    assert bevformer(*arguments) == 1
    assert "32 calibration samples asked for, but the 3 scenes hold 15 frames" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_scenes_or_extracted_frames_are_needed(
    config_json: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bevformer(COMMAND, config_json, "--output-dir", tmp_path / "set") == 1
    assert "give SCENES and ONNX, or --quantization-data" in capsys.readouterr().err


def test_a_model_that_is_not_the_configs(
    toy_world: ToyWorld, config_json: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_toy_graph(tmp_path / "other.onnx", bev_hw=(8, 8))
    arguments = (COMMAND, config_json, toy_world.scenes_root, other, "--output-dir", tmp_path / "set")
    assert bevformer(*arguments) == 1
    assert "its prev_bev is (64, 1, 32), the config makes it (120, 1, 32)" in capsys.readouterr().err
