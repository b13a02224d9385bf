from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from bevformer_lib.config.camera_capacity import CAPACITY_KEY, CameraCapacity, PillarGrid
from bevformer_lib.config.inference_config import inference_config_of
from bevformer_lib.errors import CameraCalibrationError, ConfigError
from bevformer_lib.runtime.contract import ModelGeometry, check_graph, check_model
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from tests.support.fake_runtime import MICRO_INPUTS, MICRO_OUTPUTS, FakeRuntime
from tests.support.micro import micro_config
from tests.support.toy_graph import give_metadata, write_toy_graph

CONFIG = inference_config_of(micro_config())
MODEL = Path("model.onnx")


def test_geometry_of_a_model_that_fits(tmp_path: Path) -> None:
    runtime = OnnxRuntime(write_toy_graph(tmp_path / "toy.onnx", decoder_layers=3))
    assert check_model(runtime, CONFIG, MODEL) == ModelGeometry(num_cams=6, image_hw=(96, 160), decoder_layers=3)


def test_every_disagreement_is_named(tmp_path: Path) -> None:
    runtime = OnnxRuntime(write_toy_graph(tmp_path / "toy.onnx"))
    other = dataclasses.replace(CONFIG, bev_h=50, num_query=900)
    with pytest.raises(ConfigError) as caught:
        check_model(runtime, other, MODEL)
    message = str(caught.value)
    assert message.startswith("model.onnx: this model and the inference config don't belong together")
    assert "its prev_bev is (120, 1, 32), the config makes it (600, 1, 32)" in message
    assert "its outputs_coords is (2, 1, 30, 10), the config makes it (2, 1, 900, 10)" in message
    assert "img" not in message.split("\n", 1)[1]


def test_names_are_checked_before_shapes() -> None:
    inputs = {("image" if name == "img" else name): shape for name, shape in MICRO_INPUTS.items()}
    with pytest.raises(ConfigError, match="has no input 'img'\n  - it has an unknown input 'image'"):
        check_model(FakeRuntime(inputs, MICRO_OUTPUTS, lambda _: {}), CONFIG, MODEL)


def test_an_img_of_another_rank() -> None:
    runtime = FakeRuntime({**MICRO_INPUTS, "img": (6,)}, MICRO_OUTPUTS, lambda _: {})
    with pytest.raises(ConfigError, match=r"its img is \(6,\), the config makes it \(1, any, 3, any, any\)"):
        check_model(runtime, CONFIG, MODEL)


def test_the_exported_graph_says_its_sides(tmp_path: Path) -> None:
    metadata = {"bevformer.bev_hw": f"{CONFIG.bev_w}x{CONFIG.bev_h}"}
    with pytest.raises(ConfigError, match=rf"its BEV is {CONFIG.bev_w}x{CONFIG.bev_h} \(rows x columns\)"):
        check_model(toy_with(tmp_path, metadata), CONFIG, MODEL)


def toy_with(tmp_path: Path, metadata: dict[str, str]) -> OnnxRuntime:
    return OnnxRuntime(give_metadata(write_toy_graph(tmp_path / "toy.onnx", decoder_layers=3), metadata))


def test_a_damaged_room_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(
        CameraCalibrationError, match=r"^model\.onnx: its metadata entry bevformer\.camera_capacity is damaged"
    ):
        check_model(toy_with(tmp_path, {CAPACITY_KEY: "{}"}), CONFIG, MODEL)


@pytest.mark.parametrize(
    ("bev_h", "bev_w", "error", "message"),
    [
        (2, 2, CameraCalibrationError, r"model with 2 x 2 BEV cells .* its prev_bev is \(120, 1, 32\)"),
        (12, 10, ConfigError, "its BEV is 12 x 10, the config makes it 10 x 12"),
    ],
)
def test_the_room_of_another_bev_is_refused(
    tmp_path: Path, bev_h: int, bev_w: int, error: type[Exception], message: str
) -> None:
    grid = dataclasses.replace(PillarGrid.of(micro_config()), bev_h=bev_h, bev_w=bev_w)
    with pytest.raises(error, match=message):
        check_model(toy_with(tmp_path, CameraCapacity(2, grid).to_metadata()), CONFIG, MODEL)


def test_a_graph_of_the_config_is_taken(tmp_path: Path) -> None:
    metadata = CameraCapacity(2, PillarGrid.of(micro_config())).to_metadata()
    check_graph(toy_with(tmp_path, metadata), micro_config(), MODEL)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({"num_cams": 4}, "its cameras: 4, the config's: 6"),
        ({"image_hw": (96, 128)}, "its image size: 96 x 128, the config's: 96 x 160"),
        ({"decoder_layers": 2}, "its decoder layers: 2, the config's: 3"),
        ({"bev_hw": (8, 12)}, r"its prev_bev is \(96, 1, 32\), the config makes it \(120, 1, 32\)"),
    ],
)
def test_a_graph_of_another_model_is_refused_with_what_differs(
    tmp_path: Path, graph: dict[str, Any], message: str
) -> None:
    runtime = OnnxRuntime(write_toy_graph(tmp_path / "toy.onnx", **{"decoder_layers": 3, **graph}))
    with pytest.raises(ConfigError, match=rf"^model\.onnx: this graph is not the model .*\n  - {message}"):
        check_graph(runtime, micro_config(), MODEL)
