from __future__ import annotations

import json
from pathlib import Path

import pytest

from bevformer_lib.cli.app import LIBRARY_COMMANDS, run
from bevformer_lib.config.camera_capacity import CAPACITY_KEY
from bevformer_lib.config.inference_config import inference_config_of, write_inference_config
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes
from tests.support.toy_graph import give_metadata, write_toy_graph

MICRO = Path(__file__).parents[1] / "support" / "micro_original.py"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("given scènes")
    write_toy_graph(root / "toy.onnx")
    write_inference_config(inference_config_of(micro_config()), root / "inference_config.json")
    write_scenes(root / "scenes", num_scenes=3, frames_per_scene=2)
    return root


def bevformer_infer(given: Path, output: Path, *options: str) -> int:
    positional = [str(given / name) for name in ("toy.onnx", "inference_config.json", "scenes")]
    arguments = ["infer", *positional, "--output-dir", str(output), *options]
    return run(LIBRARY_COMMANDS, arguments)


def test_issue_command(given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options: tuple[str, ...] = (
        "--runtime",
        "onnxruntime",
        "--score-thr",
        "0.6",
        "--device",
        "cpu",
        "--fps",
        "4",
        "--start-scene",
        "1",
        "--end-scene",
        "3",
    )
    assert bevformer_infer(given, tmp_path / "out", *options) == 0
    said = capsys.readouterr()
    assert "4 frames of 2 scenes (scene-0001, scene-0002)" in said.out
    for stage in ("load", "preprocess", "inference", "postprocess", "draw"):
        assert stage in said.out
    assert "inferring: 4/4" in said.err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"scene-0001", "scene-0002", "timings.json"}
    content = json.loads((tmp_path / "out" / "scene-0001" / "detections.json").read_text())
    assert content["made_with"]["fps"] == 4
    assert all(box["score"] > 0.6 for frame in content["frames"] for box in frame["boxes"])

    assert bevformer_infer(given, tmp_path / "out", *options) == 0
    said = capsys.readouterr()
    assert "left alone, finished before: 2 scenes (scene-0001, scene-0002)" in said.out
    assert "nothing to do" in said.out


def test_a_damaged_room_for_cameras_names_the_model(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = give_metadata(write_toy_graph(tmp_path / "toy.onnx"), {CAPACITY_KEY: '{"bev_h": -3}'})
    others = (str(given / "inference_config.json"), str(given / "scenes"))
    assert run(LIBRARY_COMMANDS, ["infer", str(model), *others, "--output-dir", str(tmp_path / "out")]) == 1
    assert f"error: {model}: its metadata entry bevformer.camera_capacity is damaged" in capsys.readouterr().err


def test_images_without_boxes_are_explained(given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer_infer(given, tmp_path / "out", "--score-thr", "1", "--no-video", "--end-scene", "1") == 0
    assert "no box scores above 1; a lower --score-thr and another folder show more" in capsys.readouterr().out


def test_without_images_and_video(given: Path, tmp_path: Path) -> None:
    assert bevformer_infer(given, tmp_path / "out", "--no-images", "--no-video", "--end-scene", "1") == 0
    assert [path.name for path in (tmp_path / "out" / "scene-0000").iterdir()] == ["detections.json"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--start-scene", "7"), "select none"),
        (("--runtime", "none"), "runtime 'none' is not known"),
    ],
)
def test_bad_options_are_one_clear_error(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, str], said: str
) -> None:
    assert bevformer_infer(given, tmp_path / "out", *options) == 1
    shown = capsys.readouterr().err
    assert "error: " in shown
    assert said in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "out").exists()


def test_a_recording_gives_what_its_scenes_give(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recordings = tmp_path / "recordings"
    options = ("--config", str(MICRO), "--output-dir", str(recordings), "--end-scene", "2")
    assert run(LIBRARY_COMMANDS, ["write-recordings", str(given / "scenes"), *options]) == 0
    assert f"{recordings}/scene-0001.mcap: 2 frames of scene-0001" in capsys.readouterr().out
    assert bevformer_infer(given, tmp_path / "of scenes", "--end-scene", "2") == 0
    model = [str(given / "toy.onnx"), str(given / "inference_config.json")]
    output = ["--output-dir", str(tmp_path / "of recordings")]
    for name in ("scene-0000", "scene-0001"):
        source = ["--source", str(recordings / f"{name}.mcap")]
        assert run(LIBRARY_COMMANDS, ["infer", *model, *source, *output]) == 0
        ours, theirs = (
            json.loads((tmp_path / folder / name / "detections.json").read_text(encoding="utf-8"))["frames"]
            for folder in ("of recordings", "of scenes")
        )
        assert [frame["boxes"] for frame in ours] == [frame["boxes"] for frame in theirs]
        assert [frame["timestamp_us"] for frame in ours] == [frame["timestamp_us"] for frame in theirs]
        images = [sorted((tmp_path / folder / name / "images").iterdir()) for folder in ("of recordings", "of scenes")]
        assert len(images[0]) == 2
        assert [path.name for path in images[0]] == [path.name for path in images[1]]
    assert run(LIBRARY_COMMANDS, ["infer", *model, *source, *output]) == 0
    assert "left alone, finished before: 1 scene (scene-0001)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give a folder of scenes, or --source and a recording"),
        (("{given}/scenes", "--source", "{given}/toy.onnx"), "give a folder of scenes, or --source and a recording"),
        (("{given}/scenes", "--frame-interval", "0.5"), "give it as --source"),
        (("--source", "{given}/toy.onnx"), "toy.onnx: is no MCAP file"),
        (("--source", "{given}/none.mcap"), "none.mcap: is no file"),
        (("--source", "{given}/none.mcap", "--topics", "{given}/none.yaml"), "none.yaml: "),
    ],
)
def test_a_wrong_source_is_one_clear_error(
    arguments: tuple[str, ...], said: str, given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = [str(given / "toy.onnx"), str(given / "inference_config.json")]
    more = [argument.format(given=given) for argument in arguments]
    assert run(LIBRARY_COMMANDS, ["infer", *model, *more, "--output-dir", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
