from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.calibration import ToyWorld
from tests.support.commands import bevformer

COMMAND = "extract-quantization-data"


def test_extracts_the_chosen_scenes(
    toy_world: ToyWorld, config_json: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "quantization data"
    arguments = (COMMAND, config_json, toy_world.scenes_root, toy_world.model, "--output-dir", output)
    assert bevformer(*arguments, "--device", "cpu", "--start-scene", "1", "--end-scene", "3") == 0
    assert "10 frames of 2 scenes extracted" in capsys.readouterr().out
    index = json.loads((output / "global_index.json").read_text())
    assert [scene["name"] for scene in index["scenes"]] == ["scene-0001", "scene-0002"]
    assert np.load(output / "scene-0001" / "frame_0004_prev_bev.npy").shape == (120, 1, 32)


def test_a_device_that_is_not_there(
    toy_world: ToyWorld, config_json: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (COMMAND, config_json, toy_world.scenes_root, toy_world.model, "--output-dir", tmp_path / "out")
    assert bevformer(*arguments, "--device", "cuda:7") == 1
    assert "error: device 'cuda:7': this ONNX Runtime" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
