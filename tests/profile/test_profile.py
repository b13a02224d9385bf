from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from bevformer_lib.errors import ExportError
from bevformer_lib.profile.profile import OperatorCost, graph_cost
from tests.export.graphs import int64, model_of


def _network() -> onnx.ModelProto:
    """A convolution (1, 3, 8, 8) -> (1, 4, 8, 8), a Relu and a matrix product (4, 64) x (64, 5)."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Reshape", ["r", "shape"], ["flat"], "flatten"),
        helper.make_node("MatMul", ["flat", "m"], ["y"], "product"),
    ]
    constants = {
        "w": np.zeros((4, 3, 3, 3), np.float32),
        "b": np.zeros(4, np.float32),
        "m": np.zeros((64, 5), np.float32),
        "shape": int64(4, 64),
    }
    return model_of(nodes, {"x": (1, 3, 8, 8)}, {"y": (4, 5)}, constants=constants)


def test_the_totals_are_those_counted_by_hand() -> None:
    cost = graph_cost(_network())
    assert cost.macs == 4 * 64 * 27 + 4 * 64 * 5
    assert cost.parameters == 4 * 27 + 4 + 64 * 5
    assert cost.parameter_bytes == 4 * (4 * 27 + 4 + 64 * 5) + 2 * 8
    assert cost.activations.total_bytes == 4 * (192 + 256 + 256 + 256 + 20)
    assert (cost.activations.peak_bytes, cost.activations.peak_node) == (4 * 512, "relu")


def test_operators_are_ordered_by_what_they_cost() -> None:
    assert graph_cost(_network()).operators == (
        OperatorCost("Conv", 1, 6912, 1024),
        OperatorCost("MatMul", 1, 1280, 80),
        OperatorCost("Relu", 1, 0, 1024),
        OperatorCost("Reshape", 1, 0, 1024),
    )


def test_a_constant_node_is_a_parameter_and_no_activation() -> None:
    value = onnx.numpy_helper.from_array(np.ones((2, 3), np.float32))
    nodes = [helper.make_node("Constant", [], ["k"], value=value), helper.make_node("Add", ["x", "k"], ["y"], "add")]
    cost = graph_cost(model_of(nodes, {"x": (2, 3)}, {"y": (2, 3)}))
    assert (cost.parameters, cost.activations.total_bytes) == (6, 48)
    assert [operator.operator for operator in cost.operators] == ["Add"]


def test_quantised_weights_are_parameters_and_their_scales_are_not() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"], "weights", axis=1),
        helper.make_node("MatMul", ["x", "w"], ["y"], "product"),
    ]
    constants = {"q": np.zeros((4, 5), np.int8), "scale": np.ones(5, np.float32), "zero": np.zeros(5, np.int8)}
    cost = graph_cost(model_of(nodes, {"x": (2, 4)}, {"y": (2, 5)}, constants=constants))
    assert (cost.parameters, cost.parameter_bytes) == (20, 20 + 4 * 5 + 5)


def test_a_shape_that_is_not_fixed_is_named() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"], "it")], {"x": ("n", 3)}, {"y": ("n", 3)})
    with pytest.raises(ExportError, match="shape of 'x' is not fixed"):
        graph_cost(model)


def test_a_raw_graph_costs_what_its_known_shapes_cost() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "first", "second"], ["rows"]),
        helper.make_node("Concat", ["rows", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
        helper.make_node("NonZero", ["y"], ["found"]),
        helper.make_node("Cast", ["found"], ["places"], to=onnx.TensorProto.FLOAT),
        helper.make_node("MatMul", ["w2", "places"], ["z"]),
    ]
    constants = {
        "first": np.array([0]),
        "second": np.array([1]),
        "rest": np.array([-1]),
        "w": np.ones((6, 5), np.float32),
        "w2": np.ones((1, 2), np.float32),
    }
    cost = graph_cost(model_of(nodes, {"x": (4, 2, 3)}, {"z": ("a", "b")}, constants=constants))
    assert cost.macs == 4 * 6 * 5
    assert cost.unknown == ("found", "places", "z")
    assert cost.not_counted == ("MatMul",)


def test_weights_of_integer_arithmetic_are_parameters_and_their_scales_are_not() -> None:
    inputs = ["x", "sx", "zx", "w", "sw", "zw", "sy", "zy"]
    constants = {
        **{name: np.ones((), np.float32) for name in ("sx", "sw", "sy")},
        **{name: np.zeros((), np.uint8) for name in ("zx", "zw", "zy")},
        "w": np.zeros((6, 4, 3, 3), np.uint8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["images", "sx", "zx"], ["x"], "quantise"),
        helper.make_node("QLinearConv", inputs, ["q"], "conv"),
        helper.make_node("DequantizeLinear", ["q", "sy", "zy"], ["y"], "dequantise"),
    ]
    cost = graph_cost(model_of(nodes, {"images": (1, 4, 8, 8)}, {"y": (1, 6, 6, 6)}, constants=constants))
    assert (cost.parameters, cost.macs, cost.not_counted) == (6 * 4 * 9, 6 * 36 * 36, ())


def test_operators_missing_in_the_total_are_named() -> None:
    nodes = [
        helper.make_node("Resize", ["x", "", "factors"], ["large"], "enlarge", mode="linear"),
        helper.make_node("FusedMatMul", ["large", "large"], ["y"], "product", domain="com.microsoft"),
    ]
    constants = {"factors": np.float32([1, 1, 2, 2])}
    model = model_of(nodes, {"x": (1, 1, 2, 2)}, {"y": (1, 1, 4, 4)}, constants=constants, domains=["com.microsoft"])
    cost = graph_cost(model)
    assert (cost.macs, cost.not_counted) == (0, ("Resize", "com.microsoft::FusedMatMul"))


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([helper.make_node("Add", ["x", "ghost"], ["y"], "add")], "Add 'add': 'ghost' is computed nowhere before"),
        ([helper.make_node("Relu", ["x"], ["z"])], "the graph's outputs: 'y' is computed nowhere"),
        ([helper.make_node("Gather", ["x"], ["y"], "g")], r"Gather 'g': .*input size 1 not in range"),
        ([helper.make_node("MatMul", ["x", "x"], ["y"], "m")], "Incompatible dimensions"),
        ([helper.make_node("Einsum", ["x"], ["y"], "e", equation="ijk->i")], "Einsum"),
        ([helper.make_node("Einsum", ["x"], ["y"], "e", equation="ij,jk->ik")], "Einsum"),
    ],
)
def test_a_graph_that_is_not_valid_has_no_cost(nodes: list[onnx.NodeProto], reason: str) -> None:
    with pytest.raises(ExportError, match=rf"not valid ONNX \(.*{reason}.*\); `bevformer lint` says"):
        graph_cost(model_of(nodes, {"x": (2, 3)}, {"y": (2, 3)}))


def test_a_constant_of_unknown_type_is_named() -> None:
    model = _network()
    model.graph.initializer[1].data_type = 88
    with pytest.raises(ExportError, match="type 88"):
        graph_cost(model)
