from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bevformer_lib.cli.app import EXIT_ERROR
from bevformer_lib.config.load import load_model_config
from bevformer_lib.detections.infer_records import DETECTIONS_FILE, frame_record, scene_record
from bevformer_lib.files import write_json
from bevformer_lib.scenes.fingerprint import scene_fingerprint
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from tests.evaluate.examples import random_detections
from tests.support.commands import bevformer

pytest.importorskip("rerun", reason="the viewer's package is not installed: pip install rerun-sdk")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("given") / "scenes"
    assert bevformer("make-scenes", "--output", path, "--num-scenes", "1", "--frames", "1") == 0
    return path


@pytest.fixture(scope="module")
def detections(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = load_model_config("tiny")
    (scene,) = read_scenes(scenes, SceneRequirements.of_model(config))
    made_with = {"model_sha256": "0" * 64, "score_threshold": 0.3, "scene_sha256": scene_fingerprint(scene)}
    frame = frame_record(scene.frames[0], random_detections(np.random.default_rng(0), 4), config.class_names)
    folder = tmp_path_factory.mktemp("detections")
    (folder / scene.name).mkdir()
    write_json(folder / scene.name / DETECTIONS_FILE, scene_record(scene, made_with, config.class_names, [frame]))
    return folder


def test_writes_a_recording(scenes: Path, detections: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "scene.rrd"
    arguments = ("view", scenes, "--config", "tiny", "--output", output)
    assert bevformer(*arguments, "--detections", detections) == 0
    assert f"1 frames of synthetic-0000, 4 detections; open it with 'rerun {output}'" in capsys.readouterr().out
    assert output.read_bytes().startswith(b"RRF2")
    assert bevformer(*arguments) == EXIT_ERROR
    assert "exists already" in capsys.readouterr().err


def test_annotations_alone(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new folder" / "scene.rrd"
    assert bevformer("view", scenes, "--config", "tiny", "--output", output, "--scene", "synthetic-0000") == 0
    assert "no detections" in capsys.readouterr().out
    assert output.is_file()


def test_a_scene_that_is_not_there(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("view", scenes, "--config", "tiny", "--output", tmp_path / "a.rrd", "--scene", "other")
    assert bevformer(*arguments) == EXIT_ERROR
    assert "has no scene other; it has synthetic-0000" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_detections_of_other_scenes_are_refused(
    detections: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = tmp_path / "scenes"
    assert bevformer("make-scenes", "--output", others, "--num-scenes", "1", "--frames", "1", "--seed", "9") == 0
    arguments = ("view", others, "--config", "tiny", "--output", tmp_path / "a.rrd", "--detections", detections)
    assert bevformer(*arguments) == EXIT_ERROR
    assert "was made from another synthetic-0000" in capsys.readouterr().err
    assert not (tmp_path / "a.rrd").exists()
