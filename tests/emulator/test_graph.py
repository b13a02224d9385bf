"""The written graph: both bounds, formats that other runtimes read, and arithmetic that no runtime may replace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from bevformer_lib.emulator.emulate import EmulatedGraph
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from tests.emulator.support import emulated, random, run_graph, s8, u8
from tests.export.graphs import model_of, operators

EVERYTHING = {"start_tensor_names": ["DEFAULT"], "end_tensor_names": ["DEFAULT"], "data_type": "U16"}


@pytest.fixture
def graph() -> EmulatedGraph:
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["gate"]),
        helper.make_node("Mul", ["x", "gate"], ["silu"]),
        helper.make_node("Concat", ["silu", "z"], ["joined"], axis=0),
        helper.make_node("Abs", ["joined"], ["y"]),
    ]
    model = model_of(nodes, {"x": [3, 4], "z": [2, 4]}, {"y": [5, 4]})
    return emulated(model, [{"x": random(3, 4), "z": 50 * random(2, 4, seed=1)}])


def test_the_pessimistic_bound_rounds_everything(graph: EmulatedGraph, tmp_path: Path) -> None:
    x, z = random(3, 4), 50 * random(2, 4, seed=1)

    def sigmoid(values: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return (1 / (1 + np.exp(-values.astype(np.float64)))).astype(np.float32)

    silu = u8(u8(x) * u8(sigmoid(u8(x)), sigmoid(x)), x * sigmoid(x))
    exact = np.concatenate([x * sigmoid(x), z])
    joined = u8(np.concatenate([silu, u8(z)]), exact)
    found = run_graph(graph.main, {"x": x, "z": z}, tmp_path)["y"]
    np.testing.assert_allclose(found, u8(np.abs(joined), np.abs(exact)), atol=1e-4)


def test_the_optimistic_bound_joins_without_rounding_and_computes_silu_as_one(
    graph: EmulatedGraph, tmp_path: Path
) -> None:
    x, z = random(3, 4), 50 * random(2, 4, seed=1)
    gate = (1 / (1 + np.exp(-u8(x).astype(np.float64)))).astype(np.float32)
    exact = x / (1 + np.exp(-x))
    joined = np.concatenate([u8(u8(x) * gate, exact), u8(z)])
    found = run_graph(graph.optimistic, {"x": x, "z": z}, tmp_path)["y"]
    np.testing.assert_allclose(found, u8(np.abs(joined), np.abs(np.concatenate([exact, z]))), atol=1e-4)


def test_eight_bits_keep_the_operator_set_and_sixteen_need_a_newer_one(graph: EmulatedGraph) -> None:
    assert graph.main.opset_import[0].version == 17
    onnx.checker.check_model(graph.main, full_check=True)
    model = model_of([helper.make_node("ReduceMean", ["x"], ["y"], axes=[1])], {"x": [3, 4]}, {"y": [3, 1]})
    wide = emulated(model, [{"x": random(3, 4)}], EVERYTHING).main
    assert wide.opset_import[0].version == 21
    onnx.checker.check_model(wide, full_check=True)


def test_weights_are_stored_as_float_and_cost_no_time_at_run_time() -> None:
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"])
    constants = {"w": random(4, 7), "b": random(7)}
    model = model_of([node], {"x": [3, 4]}, {"y": [3, 7]}, constants=constants)
    main = emulated(model, [{"x": random(3, 4)}]).main
    assert operators(main) == ["QuantizeLinear", "DequantizeLinear", "Gemm", "QuantizeLinear", "DequantizeLinear"]
    assert main.graph.node[2].input[1] == "w.S8.1"


def test_our_runtime_computes_the_roundings_as_they_stand(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "z"], ["m"]), helper.make_node("Add", ["m", "m"], ["y"])]
    model = model_of(nodes, {"x": [40, 30], "z": [30, 50]}, {"y": [40, 50]})
    x, z = random(40, 30), random(30, 50, seed=1)
    main = emulated(model, [{"x": x, "z": z}]).main
    found = run_graph(main, {"x": x, "z": z}, tmp_path)["y"]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(main.SerializeToString(), options, providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(found, plain.run(["y"], {"x": x, "z": z})[0])
    m = u8(s8(x) @ s8(z), x @ z)
    np.testing.assert_allclose(found, u8(m + m, 2 * (x @ z)), atol=1e-4)


def test_names_of_inputs_and_outputs_are_kept(graph: EmulatedGraph, tmp_path: Path) -> None:
    onnx.save(graph.main, tmp_path / "main.onnx")
    runtime = OnnxRuntime(tmp_path / "main.onnx", threads=1)
    assert (list(runtime.inputs), list(runtime.outputs)) == (["x", "z"], ["y"])
