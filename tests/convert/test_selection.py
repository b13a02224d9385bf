from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.convert.selection import select_nodes
from tests.support.toy_graph import write_toy_graph


def _graph(nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]], outputs: list[str]) -> onnx.GraphProto:
    inputs = ("img", "can_bus", "lidar2img", "prev_bev")
    return helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        initializer=[numpy_helper.from_array(np.ones(shape, np.float32), n) for n, shape in weights.items()],
    )


def _node(op: str, inputs: list[str], output: str) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], name=output)


def test_the_toy_graph(tmp_path: Path) -> None:
    selection = select_nodes(onnx.load(write_toy_graph(tmp_path / "toy.onnx")).graph)
    assert selection.quantized_nodes == {"Conv": 1, "Gemm": 8, "MatMul": 1}
    assert selection.float_nodes == {"Gemm": 1, "MatMul": 5}
    assert "toy/moved" not in selection.layers, "reads can_bus"
    assert "toy/projected" not in selection.layers, "projects with lidar2img"
    assert {"toy/stem", "toy/seen", "toy/history"} <= set(selection.layers)
    assert selection.activations == ("toy/stem.relu",)
    assert "stem.relu" in selection.tensors
    assert "stem" not in selection.tensors
    assert "history" not in selection.tensors, "the output of a MatMul stays in float"


def test_a_projection_with_constant_points_stays_in_float() -> None:
    nodes = [
        _node("Reshape", ["lidar2img", "shape"], "matrices"),
        _node("MatMul", ["matrices", "points"], "projected"),
        _node("Div", ["projected", "size"], "uv"),
    ]
    selection = select_nodes(_graph(nodes, {"points": (4, 8)}, ["uv"]))
    assert (selection.layers, selection.float_nodes) == ((), {"MatMul": 1})


def test_features_that_were_read_at_metric_places_are_features() -> None:
    nodes = [
        _node("Conv", ["img", "kernel"], "features"),
        _node("Mul", ["lidar2img", "half"], "grid"),
        _node("GridSample", ["features", "grid"], "read"),
        _node("Greater", ["grid", "half"], "seen"),
        _node("Where", ["seen", "read", "half"], "masked"),
        _node("Gemm", ["masked", "weight"], "value"),
    ]
    selection = select_nodes(_graph(nodes, {"kernel": (4, 3, 1, 1), "weight": (4, 4), "half": (1,)}, ["value"]))
    assert selection.layers == ("features", "value")


def test_a_layer_after_a_learnt_embedding_of_can_bus_is_quantised() -> None:
    nodes = [
        _node("Gemm", ["can_bus", "first"], "hidden"),
        _node("Relu", ["hidden"], "active"),
        _node("Gemm", ["active", "second"], "embedding"),
    ]
    selection = select_nodes(_graph(nodes, {"first": (18, 8), "second": (8, 8)}, ["embedding"]))
    assert selection.layers == ("embedding",)
    assert selection.tensors == ("active",)
    assert (selection.quantized_nodes, selection.float_nodes) == ({"Gemm": 1}, {"Gemm": 1})


def test_products_of_two_activations_stay_in_float() -> None:
    nodes = [_node("MatMul", ["img", "prev_bev"], "scores")]
    selection = select_nodes(_graph(nodes, {}, ["scores"]))
    assert (selection.layers, selection.float_nodes) == ((), {"MatMul": 1})


@pytest.mark.parametrize("shared", [True, False])
def test_a_relu_is_merged_only_if_nothing_else_reads_the_convolution(shared: bool) -> None:
    nodes = [_node("Conv", ["img", "kernel"], "features"), _node("Relu", ["features"], "active")]
    outputs = ["active", "features"] if shared else ["active"]
    selection = select_nodes(_graph(nodes, {"kernel": (4, 3, 1, 1)}, outputs))
    assert selection.activations == (() if shared else ("active",))
    assert selection.tensors == (("img", "features") if shared else ("img", "active"))
