from __future__ import annotations

import json
from pathlib import Path

import pytest

from bevformer_lib.cli.app import LIBRARY_COMMANDS, run
from bevformer_lib.config.inference_config import inference_config_of, write_inference_config
from bevformer_lib.detections.types import SceneEvaluation
from bevformer_lib.metrics.lost_camera import LostCamera
from bevformer_lib.names import CAMERA_ORDER
from bevformer_lib.plain_data import from_plain
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes
from tests.support.toy_graph import write_toy_graph


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("évaluation 1")
    write_toy_graph(folder / "float.onnx")
    write_toy_graph(folder / "other.onnx", decoder_layers=3)
    write_inference_config(inference_config_of(micro_config()), folder / "inference_config.json")
    write_scenes(folder / "scenes", num_scenes=2, frames_per_scene=2)
    return folder


def evaluate(folder: Path, output: Path, *options: str, candidate: str = "float.onnx") -> int:
    files = [str(folder / name) for name in ("float.onnx", candidate, "inference_config.json", "scenes")]
    return run(LIBRARY_COMMANDS, ["evaluate", *files, "--output", str(output), *options])


def test_writes_everything_and_prints_a_table(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "evaluation.json"
    assert evaluate(folder, output, "--score-thr", "0.4", "--device", "cpu", "--runtime", "onnxruntime") == 0
    content = json.loads(output.read_text(encoding="utf-8"))
    assert content["reference"] == content["candidate"]
    assert content["reference"]["file"] == "float.onnx"
    scenes = [from_plain(SceneEvaluation, scene) for scene in content["scenes"]]
    assert [scene.scene for scene in scenes] == ["scene-0000", "scene-0001"]
    assert scenes[0].score_threshold == 0.4
    assert content["summary"]["outputs"]["bev_embed"]["mean_cosine"] == 1.0
    assert content["summary"]["truth"] is not None
    printed = capsys.readouterr().out
    for said in ("Fidelity", "bev_embed", "1.000000", "score > 0.4", "100.0", "Time per frame", "4 frames of 2 scenes"):
        assert said in printed, said
    assert output.name in printed


def test_selects_scenes(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "evaluation.json"
    assert evaluate(folder, output, "--start-scene", "1", "--end-scene", "2") == 0
    content = json.loads(output.read_text(encoding="utf-8"))
    assert [scene["scene"] for scene in content["scenes"]] == ["scene-0001"]
    assert content["summary"]["score_threshold"] is None


def test_without_each_camera(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "evaluation.json"
    assert evaluate(folder, output, "--drop-camera", "all", "--end-scene", "1") == 0
    content = json.loads(output.read_text(encoding="utf-8"))
    lost = [from_plain(LostCamera, one) for one in content["lost_cameras"]]
    assert [one.camera for one in lost] == list(CAMERA_ORDER)
    for one in lost:
        assert one.reference == one.candidate
        assert one.alone <= one.objects
    assert content["metrics"]["reference"] == content["metrics"]["candidate"]
    assert content["metrics"]["candidate"]["frames"] == lost[0].candidate.frames == 2
    printed = capsys.readouterr().out
    assert "A camera lost" in printed
    assert "CAM_BACK_LEFT" in printed


def test_a_camera_that_is_none(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(folder, tmp_path / "e.json", "--drop-camera", "CAM_TOP") == 1
    assert "the model has no camera 'CAM_TOP'; name one of CAM_FRONT" in capsys.readouterr().err


def test_a_recording_has_no_frames_without_a_camera(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = tmp_path / "recording"
    files = [str(folder / name) for name in ("float.onnx", "inference_config.json", "scenes")]
    assert run(LIBRARY_COMMANDS, ["record", *files, "--output-dir", str(recording)]) == 0
    files[0] = str(recording)
    words = ["evaluate", files[0], str(folder / "float.onnx"), *files[1:], "--output", str(tmp_path / "e.json")]
    assert run(LIBRARY_COMMANDS, [*words, "--drop-camera", "CAM_BACK"]) == 1
    assert "give the float model itself" in capsys.readouterr().err


def test_never_overwrites(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "evaluation.json"
    output.write_text("precious")
    assert evaluate(folder, output) == 1
    assert output.read_text() == "precious"
    assert f"error: {output} exists already" in capsys.readouterr().err


def test_models_that_do_not_belong_together(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "evaluation.json"
    assert evaluate(folder, output, candidate="other.onnx") == 1
    assert "compare a compiled model with the graph that it was made from" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unknown_runtime(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(folder, tmp_path / "e.json", "--runtime", "abacus") == 1
    assert "runtime 'abacus' is not known" in capsys.readouterr().err
