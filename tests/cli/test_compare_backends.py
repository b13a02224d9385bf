from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from bevformer_lib.config.camera_capacity import CameraCapacity, PillarGrid
from tests.support.board import be_a_board, compile_graph
from tests.support.calibration import ToyWorld, make_calibration
from tests.support.commands import bevformer
from tests.support.micro import micro_config
from tests.support.planted import plant_sensitive_layers
from tests.support.scenes import let_all_cameras_look_ahead, write_scenes
from tests.support.toy_graph import give_metadata, write_toy_graph


@pytest.fixture(scope="module")
def forms(toy_world: ToyWorld, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A graph that 8 bits hurt, that graph in 8 bits, and an .axmodel of it."""
    folder = tmp_path_factory.mktemp("förms")
    onnx = plant_sensitive_layers(toy_world.model, folder / "float.onnx", ["toy/history"])
    calibration = make_calibration(dataclasses.replace(toy_world, model=onnx), folder)
    assert bevformer("quantize", onnx, calibration, "--output", folder / "int8.onnx") == 0
    return {
        "onnx": onnx,
        "quantized": folder / "int8.onnx",
        "compiled": compile_graph(folder / "int8.onnx", folder / "compiled.axmodel"),
    }


def test_from_onnx_to_the_board(
    forms: dict[str, Path],
    toy_world: ToyWorld,
    config_json: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    be_a_board(monkeypatch)
    options = ("--onnx", forms["onnx"], "--quantized", forms["quantized"], "--board", forms["compiled"])
    given = (config_json, toy_world.scenes_root, "--min-cosine", "0.995", "--output", tmp_path / "comparison.json")
    assert bevformer("compare-backends", *given, *options) == 0
    printed = capsys.readouterr().out
    assert "first below the threshold of 0.995: quantised, tensor bev_embed" in printed
    assert "15 frames on 3 backends" in printed
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert [backend["name"] for backend in content["backends"]] == ["ONNX", "quantised", "board"]
    assert content["first_below"]["backend"] == "quantised"
    page = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert "First below the threshold of 0.995: quantised, tensor bev_embed" in page
    assert page.count('class="number bad"') >= 2
    assert page.count("<figure") == 1
    assert content["backends"][2]["from_previous"]["bev_embed"]["worst_cosine"] > 0.999


def test_with_an_emulation_in_both_bounds(
    forms: dict[str, Path], toy_world: ToyWorld, config_json: Path, tmp_path: Path
) -> None:
    calibration = make_calibration(dataclasses.replace(toy_world, model=forms["onnx"]), tmp_path)
    emulated = tmp_path / "emulated.onnx"
    assert bevformer("convert", forms["onnx"], calibration, "--output", emulated, "--converter", "emulator") == 0
    options = ("--onnx", forms["onnx"], "--emulated", emulated, "--output", tmp_path / "comparison.json")
    assert bevformer("compare-backends", config_json, toy_world.scenes_root, *options) == 0
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert [backend["name"] for backend in content["backends"]] == ["ONNX", "emulation, optimistic", "emulation"]


def test_against_a_recording(
    forms: dict[str, Path],
    toy_world: ToyWorld,
    config_json: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    be_a_board(monkeypatch)
    scenes = toy_world.scenes_root
    assert bevformer("record", forms["quantized"], config_json, scenes, "--output-dir", tmp_path / "rec") == 0
    options = ("--recorded", tmp_path / "rec", "--board", forms["compiled"], "--output", tmp_path / "comparison.json")
    assert bevformer("compare-backends", config_json, scenes, *options) == 0
    assert "every backend holds the threshold" in capsys.readouterr().out


def test_a_boards_recording_stands_for_the_board(
    forms: dict[str, Path],
    toy_world: ToyWorld,
    config_json: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenes, backends = toy_world.scenes_root, {}
    with monkeypatch.context() as board:
        be_a_board(board)
        recorded = ("--runtime", "axengine", "--output-dir", tmp_path / "board")
        assert bevformer("record", forms["compiled"], config_json, scenes, *recorded) == 0
        given = ("--onnx", forms["onnx"], "--board", forms["compiled"], "--output", tmp_path / "live.json")
        assert bevformer("compare-backends", config_json, scenes, *given) == 0
    given = ("--onnx", forms["onnx"], "--board", tmp_path / "board", "--output", tmp_path / "later.json")
    assert bevformer("compare-backends", config_json, scenes, *given) == 0
    for name in ("live", "later"):
        backends[name] = json.loads((tmp_path / f"{name}.json").read_text())["backends"][1]
    assert backends["live"]["from_first"] == backends["later"]["from_first"]


def test_a_calibration_beyond_a_backends_capacity_is_refused(
    config_json: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = let_all_cameras_look_ahead(write_scenes(tmp_path / "scenes", num_scenes=1, frames_per_scene=2))
    metadata = CameraCapacity(2, PillarGrid.of(micro_config())).to_metadata()
    onnx = give_metadata(write_toy_graph(tmp_path / "float.onnx"), metadata)
    output = tmp_path / "comparison.json"
    assert (
        bevformer("compare-backends", config_json, scenes, "--onnx", onnx, "--quantized", onnx, "--output", output) == 1
    )
    assert "meta_000000.json: its cameras show" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.slow
def test_from_pytorch_with_the_tensors_of_the_inside(
    toy_world: ToyWorld, config_json: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from bevformer_lib.export.onnx_export import export_onnx
    from bevformer_lib.model.checkpoint import make_checkpoint

    config = micro_config()
    monkeypatch.setattr("bevformer_lib.config.load.load_model_config", lambda _, image_hw=None: config)
    checkpoint, onnx = tmp_path / "micro.pth", tmp_path / "micro.onnx"
    make_checkpoint(config, checkpoint, seed=0)
    export_onnx(config, checkpoint, onnx, geometry="graph")
    calibration = make_calibration(dataclasses.replace(toy_world, model=onnx), tmp_path)
    assert bevformer("quantize", onnx, calibration, "--output", tmp_path / "int8.onnx") == 0
    options = ("--checkpoint", checkpoint, "--model", "micro", "--onnx", onnx, "--quantized", tmp_path / "int8.onnx")
    given = (config_json, toy_world.scenes_root, "--end-scene", "1", "--output", tmp_path / "comparison.json")
    assert bevformer("compare-backends", *given, *options, "--min-cosine", "0.9999") == 0
    content = json.loads((tmp_path / "comparison.json").read_text())
    tensors = [*(f"backbone.stage{stage}" for stage in range(1, 5)), "fpn.level0", "encoder.layer0", "encoder.layer1"]
    tensors += ["bev_embed", "decoder.layer0", "decoder.layer1", "decoder.layer2", "outputs_classes", "outputs_coords"]
    for backend in content["backends"][1:]:
        assert list(backend["from_first"]) == tensors
    assert all(one["worst_cosine"] > 0.99999 for one in content["backends"][1]["from_first"].values())
    assert content["first_below"]["backend"] == "quantised"
    assert content["first_below"]["tensor"].startswith("backbone.stage")
    capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give two forms or more"),
        (("--checkpoint", "x.pth"), "takes both --checkpoint and --model"),
    ],
)
def test_too_little_is_given(
    toy_world: ToyWorld,
    config_json: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    said: str,
) -> None:
    arguments = ("compare-backends", config_json, toy_world.scenes_root, "--output", tmp_path / "comparison.json")
    assert bevformer(*arguments, *options) == 1
    assert said in capsys.readouterr().err
