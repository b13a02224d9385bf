from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bevformer_lib.config.inference_config import inference_config_of
from bevformer_lib.errors import ConfigError
from bevformer_lib.runtime.contract import ModelGeometry, check_model
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from tests.support.fake_runtime import MICRO_INPUTS, MICRO_OUTPUTS, FakeRuntime
from tests.support.micro import micro_config
from tests.support.toy_graph import write_toy_graph

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
