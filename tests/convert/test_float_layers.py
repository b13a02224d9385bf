from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from bevformer_lib.convert.float_layers import read_kept
from bevformer_lib.convert.onnxruntime import OnnxRuntimeConverter
from bevformer_lib.convert.selection import select_nodes
from bevformer_lib.errors import ConversionError
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from tests.support.calibration import ToyWorld, make_calibration, make_toy_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    return make_toy_world(tmp_path_factory.mktemp("toy world"))


@pytest.fixture(scope="module")
def calibration(world: ToyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_calibration(world, tmp_path_factory.mktemp("calibration"))


def _layers(world: ToyWorld) -> tuple[str, ...]:
    return select_nodes(onnx.load(world.model).graph).layers


def _feed(model: Path) -> dict[str, np.ndarray]:
    random = np.random.RandomState(3)
    return {name: random.standard_normal(s.shape).astype(s.dtype) for name, s in OnnxRuntime(model).inputs.items()}


def test_a_kept_layer_reads_float_and_has_float_weights(world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    for kept in _layers(world):
        output = tmp_path / "kept.onnx"
        conversion = OnnxRuntimeConverter(threads=1, keep_float=[kept]).convert(world.model, calibration, output)
        model = onnx.load(output)
        onnx.checker.check_model(model, full_check=True)
        producers = {name: node for node in model.graph.node for name in node.output}
        node = next(node for node in model.graph.node if node.name == kept)
        for name in node.input:
            assert name not in producers or producers[name].op_type != "DequantizeLinear"
        assert sum(conversion.quantized_nodes.values()) == len(_layers(world)) - 1
        read = {name for one in model.graph.node for name in one.input} | {one.name for one in model.graph.output}
        assert all(name in read for one in model.graph.node for name in one.output)
        output.unlink()


def test_a_layer_alone_in_8_bits_disturbs_only_what_follows_it(
    world: ToyWorld, calibration: Path, tmp_path: Path
) -> None:
    kept = [name for name in _layers(world) if name != "toy/layer1.classes"]
    OnnxRuntimeConverter(threads=1, keep_float=kept).convert(world.model, calibration, tmp_path / "one.onnx")
    feed = _feed(world.model)
    expected, given = (OnnxRuntime(path, threads=1).run(feed) for path in (world.model, tmp_path / "one.onnx"))
    np.testing.assert_allclose(given["bev_embed"], expected["bev_embed"], atol=1e-6)
    np.testing.assert_allclose(given["outputs_coords"], expected["outputs_coords"], atol=1e-4)
    difference = np.abs(given["outputs_classes"] - expected["outputs_classes"])
    assert difference[0].max() < 1e-5
    assert 1e-4 < difference[1].max() < 0.5


def test_names_without_effect_are_refused(world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    converter = OnnxRuntimeConverter(threads=1, keep_float=["toy/projected", "nothing"])
    with pytest.raises(ConversionError, match="can't be kept: nothing, toy/projected"):
        converter.convert(world.model, calibration, tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[1]"])
def test_a_list_that_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keep.json"
    path.write_text(content)
    with pytest.raises(ConversionError, match=r"keep\.json"):
        read_kept(path)
    path.write_text(json.dumps(["a", "b"]))
    assert read_kept(path) == ("a", "b")
