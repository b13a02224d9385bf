from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from bevformer_lib.emulator.emulate import EmulatedGraph
from bevformer_lib.emulator.replay import replay
from bevformer_lib.errors import ConversionError
from bevformer_lib.pulsar2.quantization_record import read_record
from tests.emulator.support import emulated, random, run_graph
from tests.export.graphs import model_of

W = random(4, 5, seed=1, low=-1, high=1)
X = random(3, 4)
BOUNDS = {"U8": (0, 255), "S8": (-128, 127)}


@pytest.fixture
def predicted() -> EmulatedGraph:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], name="fc"),
        helper.make_node("Add", ["product", "b"], ["sum"], name="bias"),
        helper.make_node("Sigmoid", ["sum"], ["gate"], name="sigmoid"),
        helper.make_node("Transpose", ["gate"], ["turned"], name="turn"),
        helper.make_node("MatMul", ["turned", "gate"], ["y"], name="live"),
    ]
    constants = {"w": W, "b": random(5, seed=2)}
    return emulated(model_of(nodes, {"x": [3, 4]}, {"y": [5, 5]}, constants=constants), [{"x": X}])


def write_build(graph: EmulatedGraph, folder: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> Path:
    """What a build leaves, with the predicted numbers and some changed ones: by tensor, or by tensor of an operator."""
    operators: dict[str, dict[str, Any]] = {}
    values: dict[str, Any] = {}

    def record(operator: str, tensor: str, **entry: Any) -> None:
        entry = {**entry, **(changes or {}).get(tensor, {}), **(changes or {}).get(f"{operator}/{tensor}", {})}
        key = str(len(values))
        values[key] = {"scale": entry.pop("scale"), "zero_point": entry.pop("zero_point")}
        operators.setdefault(operator, {})[tensor] = {"policy": {"PER_TENSOR": True}, "hash": int(key), **entry}

    for tensor in graph.tensors:
        low, high = BOUNDS[tensor.format]
        numbers = {"scale": [tensor.scale], "zero_point": [tensor.zero_point], "bit_width": 8}
        readers = [node for node in graph.prepared.model.graph.node if tensor.name in node.input]
        operator = tensor.layer or readers[0].name
        record(f"op_1:{operator}", tensor.name, **numbers, quant_min=low, quant_max=high)
    scales = [float(scale) for scale in np.abs(W).max(axis=0) / np.float32(127.5)]
    weight = {"scale": scales, "zero_point": [0] * 5, "bit_width": 8, "quant_min": -128, "quant_max": 127}
    record("op_1:fc", "w_trans", **weight, policy={"PER_CHANNEL": True})
    (folder / "quant").mkdir(parents=True)
    content = {"tensor_configs": operators, "values": values}
    (folder / "quant" / "quant_axmodel.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def keep_tensors(folder: Path, *names: str) -> None:
    """Write the compiled graph, with these tensors in it."""
    nodes = [helper.make_node("AxSomething", [], [name]) for name in names]
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [3, 4])]
    compiled = helper.make_model(helper.make_graph(nodes, "compiled", inputs, []))
    onnx.save(compiled, folder / "quant" / "quant_axmodel.onnx")


def output(model: onnx.ModelProto, folder: Path) -> np.ndarray[Any, Any]:
    return run_graph(model, {"x": X}, folder)["y"]


def test_what_was_built_as_predicted_computes_the_same(predicted: EmulatedGraph, tmp_path: Path) -> None:
    replayed = replay(predicted, read_record(write_build(predicted, tmp_path / "out")))
    assert replayed.differences == ()
    assert replayed.findings == ("0 of 5 tensors were built otherwise than predicted",)
    np.testing.assert_array_equal(output(replayed.main, tmp_path), output(predicted.main, tmp_path))


def test_other_numbers_are_taken_and_listed(predicted: EmulatedGraph, tmp_path: Path) -> None:
    build = write_build(predicted, tmp_path / "out", {"sum": {"scale": [0.5], "zero_point": [100]}})
    replayed = replay(predicted, read_record(build))
    (difference,) = replayed.differences
    assert difference.tensor == "sum"
    assert difference.built == "U8, scale 0.5, zero point 100"
    gate = output(replayed.main, tmp_path)
    assert not np.array_equal(gate, output(predicted.main, tmp_path))


def test_recorded_bounds_of_codes_count(predicted: EmulatedGraph, tmp_path: Path) -> None:
    narrow = {"y": {"quant_min": 0, "quant_max": 127}}
    replayed = replay(predicted, read_record(write_build(predicted, tmp_path / "out", narrow)))
    y = next(tensor for tensor in predicted.tensors if tensor.name == "y")
    assert output(replayed.main, tmp_path).max() == pytest.approx(127 * y.scale)


def test_tensors_of_32_bits_are_not_rounded(predicted: EmulatedGraph, tmp_path: Path) -> None:
    replayed = replay(predicted, read_record(write_build(predicted, tmp_path / "out", {"sum": {"bit_width": 32}})))
    assert [(each.tensor, each.built) for each in replayed.differences] == [("sum", "not rounded")]


def test_tensors_that_the_compiled_graph_lacks_are_not_rounded(predicted: EmulatedGraph, tmp_path: Path) -> None:
    build = write_build(predicted, tmp_path / "out")
    keep_tensors(build, "gate", "turned", "y")
    replayed = replay(predicted, read_record(build))
    assert [(each.tensor, each.built) for each in replayed.differences] == [("sum", "not rounded")]


def test_movement_operators_round_in_one_bound_only(predicted: EmulatedGraph, tmp_path: Path) -> None:
    replayed = replay(predicted, read_record(write_build(predicted, tmp_path / "out", {"turned": {"scale": [0.1]}})))
    rounded = [
        {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
        for model in (replayed.main, replayed.optimistic)
    ]
    assert rounded[0] - rounded[1] == {"turned"}


def test_an_operator_that_reads_a_tensor_otherwise_rounds_it_again(predicted: EmulatedGraph, tmp_path: Path) -> None:
    build = write_build(predicted, tmp_path / "out")
    record = build / "quant" / "quant_axmodel.json"
    content = json.loads(record.read_text())
    content["values"]["own"] = {"scale": [0.25], "zero_point": [0]}
    content["tensor_configs"].setdefault("op_1:live", {})["gate"] = {
        "bit_width": 8,
        "policy": {"PER_TENSOR": True},
        "quant_min": -128,
        "quant_max": 127,
        "hash": "own",
    }
    record.write_text(json.dumps(content))
    replayed = replay(predicted, read_record(build))
    (live,) = [node for node in replayed.main.graph.node if node.name == "live"]
    assert list(live.input) == ["turned", "gate.S8"]


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"holds no quant/quant_axmodel\.json"):
        read_record(tmp_path)
    (tmp_path / "quant_axmodel.json").write_text('{"values": []}')
    with pytest.raises(ConversionError, match="is no record of a build's numbers"):
        read_record(tmp_path)
