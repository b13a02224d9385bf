from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from bevformer_lib.backends.converters import open_converter
from bevformer_lib.convert.onnxruntime import OnnxRuntimeConverter
from bevformer_lib.errors import CalibrationError, ConversionError
from bevformer_lib.files import sha256_of_file
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.runtime.temporal import TemporalSession
from tests.support.calibration import ToyWorld, make_calibration, make_toy_world
from tests.support.toy_graph import write_toy_graph


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    return make_toy_world(tmp_path_factory.mktemp("toy world"))


@pytest.fixture(scope="module")
def calibration(world: ToyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_calibration(world, tmp_path_factory.mktemp("cälibration"))


def test_the_quantised_model_follows_the_float_one(world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    conversion = open_converter("onnxruntime", threads=1).convert(
        world.model, calibration, tmp_path / "int8.onnx", on_progress=lambda *_: None
    )
    reference, candidate = (TemporalSession(OnnxRuntime(path, threads=1)) for path in (world.model, conversion.output))
    frames = world.scenes["scene-0002"].frames
    for position, frame in enumerate(frames):
        inputs = world.preprocessor.inputs(frame, frames[position - 1] if position else None)
        expected = reference.step(inputs, first=position == 0).outputs
        found = candidate.step(inputs, first=position == 0).outputs
        for name, array in expected.items():
            assert 0 < np.linalg.norm(found[name] - array) < 0.03 * np.linalg.norm(array)


def test_what_the_conversion_reports_is_in_the_file(world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    output = tmp_path / "int8.onnx"
    conversion = OnnxRuntimeConverter(threads=1).convert(world.model, calibration, output)
    model = onnx.load(output)
    onnx.checker.check_model(model, full_check=True)
    integer_weights = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    from_integers = {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in integer_weights
    }
    quantized = Counter(
        node.op_type for node in model.graph.node if any(name in from_integers for name in node.input[1:2])
    )
    assert conversion.quantized_nodes == quantized
    assert set(quantized) == {"Conv", "Gemm", "MatMul"}
    assert conversion.bytes_after == output.stat().st_size < 0.7 * conversion.bytes_before
    assert conversion.num_samples == 4
    assert {domain.domain for domain in model.opset_import} == {""}


def test_provenance_is_kept_and_added_to(world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    output = tmp_path / "int8.onnx"
    OnnxRuntimeConverter(threads=1).convert(world.model, calibration, output)
    properties = {entry.key: entry.value for entry in onnx.load(output).metadata_props}
    prefix = "bevformer.quantization."
    assert properties["toy"] == "yes"
    assert properties[f"{prefix}float_model_sha256"] == sha256_of_file(world.model)
    manifest = sha256_of_file(calibration / "calibration_manifest.json")
    assert properties[f"{prefix}calibration_manifest_sha256"] == manifest
    assert properties[f"{prefix}num_samples"] == "4"
    assert not any(key.startswith("onnx.") for key in properties)


def test_same_inputs_same_bytes(world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    for name in ("one.onnx", "two.onnx"):
        OnnxRuntimeConverter(threads=1).convert(world.model, calibration, tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def _refused(model: Path, calibration: Path, output: Path, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        OnnxRuntimeConverter(threads=1).convert(model, calibration, output)


def test_a_set_of_another_model(calibration: Path, tmp_path: Path) -> None:
    other = write_toy_graph(tmp_path / "other.onnx", bev_hw=(8, 8))
    message = r"not made for .*prev_bev is float32 \(120, 1, 32\) in the set, the model takes float32 \(64, 1, 32\)"
    _refused(other, calibration, tmp_path / "int8.onnx", message)
    assert [path.name for path in tmp_path.iterdir()] == ["other.onnx"]


def test_a_model_that_is_quantised_already(world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    OnnxRuntimeConverter(threads=1).convert(world.model, calibration, tmp_path / "int8.onnx")
    _refused(tmp_path / "int8.onnx", calibration, tmp_path / "again.onnx", r"int8\.onnx: is quantised already")


@pytest.mark.parametrize("content", [b"", b"no model"])
def test_a_file_that_is_no_model(calibration: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    _refused(tmp_path / "bad.onnx", calibration, tmp_path / "int8.onnx", r"bad\.onnx: .*export it again")


def test_the_float_model_is_never_overwritten(world: ToyWorld, calibration: Path) -> None:
    before = world.model.read_bytes()
    _refused(world.model, calibration, world.model, "is the float model itself")
    assert world.model.read_bytes() == before


def test_a_graph_without_weights(calibration: Path, tmp_path: Path, world: ToyWorld) -> None:
    model = onnx.load(world.model)
    del model.graph.node[:]
    del model.graph.initializer[:]
    for value in model.graph.output:
        model.graph.node.append(onnx.helper.make_node("Identity", ["prev_bev"], [value.name]))
        value.type.tensor_type.ClearField("shape")
    onnx.save(model, tmp_path / "empty.onnx")
    _refused(tmp_path / "empty.onnx", calibration, tmp_path / "int8.onnx", "no Conv, Gemm or MatMul")


def test_a_broken_set_is_a_calibration_error(world: ToyWorld, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no such archive"):
        OnnxRuntimeConverter(threads=1).convert(world.model, tmp_path, tmp_path / "int8.onnx")
