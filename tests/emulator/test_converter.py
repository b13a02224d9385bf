from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from bevformer_lib.backends.converters import open_converter
from bevformer_lib.emulator.converter import EmulatorConverter, EmulatorOptions
from bevformer_lib.emulator.emulate import UNCERTAIN
from bevformer_lib.emulator.emulation import optimistic_path
from bevformer_lib.errors import ConversionError
from bevformer_lib.pulsar2.converter import Pulsar2Options
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.runtime.temporal import TemporalSession
from tests.support.calibration import ToyWorld, make_calibration, make_toy_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    return make_toy_world(tmp_path_factory.mktemp("toy world"))


@pytest.fixture(scope="module")
def calibration(world: ToyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_calibration(world, tmp_path_factory.mktemp("cälibration"))


def convert(world: ToyWorld, calibration: Path, output: Path, recipe: str = "int8") -> Path:
    options = EmulatorOptions(recipe=recipe, threads=1)
    return EmulatorConverter(options).convert(world.model, calibration, output).output


def errors(world: ToyWorld, model: Path) -> float:
    """The largest relative error of an output over a scene, each model with its own history."""
    reference, candidate = (TemporalSession(OnnxRuntime(path, threads=1)) for path in (world.model, model))
    frames = world.scenes["scene-0002"].frames
    largest = 0.0
    for position, frame in enumerate(frames):
        inputs = world.preprocessor.inputs(frame, frames[position - 1] if position else None)
        expected = reference.step(inputs, first=position == 0).outputs
        found = candidate.step(inputs, first=position == 0).outputs
        distances = [np.linalg.norm(found[name] - array) / np.linalg.norm(array) for name, array in expected.items()]
        largest = max(largest, *map(float, distances))
    return largest


def test_sixteen_bits_follow_the_float_model_more_closely_than_eight(
    world: ToyWorld, calibration: Path, tmp_path: Path
) -> None:
    eight = errors(world, convert(world, calibration, tmp_path / "eight.onnx"))
    sixteen = errors(world, convert(world, calibration, tmp_path / "sixteen.onnx", "all-u16"))
    assert 0 < sixteen < eight / 3 < 0.2


def test_both_bounds_are_written_and_say_what_they_are(world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    output = tmp_path / "emulated.onnx"
    conversion = open_converter("emulator", threads=1).convert(
        world.model, calibration, output, on_progress=lambda *_: None
    )
    assert conversion.converter == "emulator"
    assert conversion.quantized_nodes["MatMul"] > 0
    for path, bound in ((output, "all tensors rounded"), (optimistic_path(output), "movement operators not rounded")):
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        stated = OnnxRuntime(path, threads=1).metadata
        assert stated["bevformer.quantization.converter"] == "emulator"
        assert stated["bevformer.quantization.bound"] == bound
        assert json.loads(stated["bevformer.quantization.uncertain"]) == list(UNCERTAIN)


def test_the_same_inputs_give_the_same_bytes(world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    first, second = (convert(world, calibration, tmp_path / name) for name in ("first.onnx", "second.onnx"))
    assert first.read_bytes() == second.read_bytes()


def test_overrides_mean_what_they_mean_to_pulsar2(world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    overrides = tmp_path / "mine.yaml"
    overrides.write_text("quant: {layer_configs: [{op_types: [Softmax, Xor], data_type: FP32}]}", encoding="utf-8")
    options = EmulatorOptions(overrides=overrides, threads=1)
    conversion = EmulatorConverter(options).convert(world.model, calibration, tmp_path / "emulated.onnx")
    assert any("no operator of type Xor is built" in finding for finding in conversion.findings)


def test_the_output_must_be_another_onnx_file(world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    for output, message in ((world.model, "the float model itself"), (tmp_path / "m.axmodel", r"suffix \.onnx")):
        with pytest.raises(ConversionError, match=message):
            convert(world, calibration, output)


def test_recipes_where_none_is_named() -> None:
    assert Pulsar2Options().recipe == EmulatorOptions().recipe == "mixed"


def test_settings_of_other_converters_are_refused() -> None:
    with pytest.raises(ConversionError, match="leave keep_float"):
        open_converter("emulator", keep_float=["conv"])
    with pytest.raises(ConversionError, match="the converter is onnxruntime"):
        open_converter("onnxruntime", emulator=EmulatorOptions())
