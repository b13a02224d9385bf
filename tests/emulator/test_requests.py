from __future__ import annotations

from typing import Any

import onnx
import pytest
from onnx import helper

from bevformer_lib.emulator.emulate import EmulatedGraph, EmulationConfig
from bevformer_lib.pulsar2.build_config import BuildConfig, LayerConfig, QuantConfig
from tests.emulator.support import emulated, random
from tests.export.graphs import model_of


@pytest.fixture
def model() -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], name="fc"),
        helper.make_node("Add", ["product", "b"], ["sum"], name="bias"),
        helper.make_node("Mul", ["sum", "c"], ["scaled"], name="scale"),
        helper.make_node("Transpose", ["scaled"], ["turned"], name="turn"),
        helper.make_node("Softmax", ["turned"], ["y"], name="softmax"),
    ]
    constants = {"w": random(4, 5, seed=1), "b": random(5, seed=2), "c": random(5, seed=3)}
    return model_of(nodes, {"x": [3, 4]}, {"y": [5, 3]}, constants=constants)


def formats(graph: EmulatedGraph) -> dict[str, str]:
    return {tensor.name: tensor.format for tensor in graph.tensors}


def emulate_with(model: onnx.ModelProto, *requests: dict[str, Any]) -> EmulatedGraph:
    return emulated(model, [{"x": random(3, 4)}], *requests)


EIGHT = {"x": "U8", "sum": "U8", "scaled": "U8", "turned": "U8", "y": "U8"}


def test_a_product_needs_its_bias_named_too(model: onnx.ModelProto) -> None:
    for selected in ({"layer_names": ["fc"]}, {"op_types": ["MatMul"]}, {"op_types": ["MatMul", "Add"]}):
        graph = emulate_with(model, {**selected, "data_type": "U16"})
        assert formats(graph) == {**EIGHT, "x": "U16"}
        assert any("the Add of its bias is not asked for" in finding for finding in graph.findings)
    graph = emulate_with(model, {"layer_names": ["fc", "bias"], "data_type": "U16"})
    assert formats(graph) == {**EIGHT, "x": "U16", "sum": "U16"}
    assert graph.findings == ()


def test_a_movement_operator_left_at_8_bits_takes_the_tensor_down(model: onnx.ModelProto) -> None:
    graph = emulate_with(model, {"layer_names": ["scale", "softmax"], "data_type": "U16"})
    assert formats(graph) == {**EIGHT, "scaled": "U16", "y": "U16"}
    graph = emulate_with(model, {"layer_names": ["scale", "turn", "softmax"], "data_type": "U16"})
    assert formats(graph) == {**EIGHT, "scaled": "U16", "turned": "U16", "y": "U16"}


def test_a_name_counts_before_a_type_and_a_type_before_a_subgraph(model: onnx.ModelProto) -> None:
    everything = {"start_tensor_names": ["DEFAULT"], "end_tensor_names": ["DEFAULT"]}
    requests = (
        {"layer_name": "scale", "data_type": "U8"},
        {"op_type": "Softmax", "data_type": "U8"},
        {**everything, "data_type": "U16"},
    )
    found = formats(emulate_with(model, *requests))
    assert found == {"x": "U16", "sum": "U16", "scaled": "U8", "turned": "U8", "y": "U8"}


def test_a_subgraph_is_what_lies_between_its_tensors(model: onnx.ModelProto) -> None:
    between = {"start_tensor_names": ["sum"], "end_tensor_names": ["turned"], "data_type": "U16"}
    assert formats(emulate_with(model, between)) == {**EIGHT, "scaled": "U16", "turned": "U16"}


def test_float_where_it_is_granted(model: onnx.ModelProto) -> None:
    graph = emulate_with(model, {"layer_names": ["scale", "turn"], "data_type": "FP32"})
    assert formats(graph) == {**EIGHT, "scaled": "FP32", "turned": "FP32"}
    assert graph.findings == ()


def test_what_the_tool_drops_is_dropped_and_said(model: onnx.ModelProto) -> None:
    graph = emulate_with(model, {"op_type": "Softmax", "data_type": "FP32"})
    assert formats(graph) == EIGHT
    assert graph.findings == (
        "layer_configs.0 (Softmax: FP32): FP32 changed no bit of Softmax in 6.0, and nobody saw 7.0 do otherwise; "
        "not applied here: softmax",
    )


@pytest.mark.parametrize(
    ("operator", "request_", "granted"),
    [
        ("LayerNormalization", {"data_type": "FP32"}, "U8"),
        ("Abs", {"data_type": "FP32"}, "U8"),
        ("Sqrt", {"data_type": "FP32"}, "FP32"),
        ("Abs", {"data_type": "U16"}, "U16"),
        ("Abs", {"data_type": "U16", "output_data_type": "U8"}, "U8"),
        ("Abs", {"data_type": "S16"}, "S16"),
    ],
)
def test_formats_by_operator(operator: str, request_: dict[str, str], granted: str) -> None:
    inputs = ["x", "scale"] if operator == "LayerNormalization" else ["x"]
    nodes = [helper.make_node(operator, inputs, ["y"], name="it")]
    constants = {"scale": random(4)} if operator == "LayerNormalization" else None
    small = model_of(nodes, {"x": [3, 4]}, {"y": [3, 4]}, constants=constants)
    graph = emulated(small, [{"x": random(3, 4, low=0)}], {"layer_name": "it", **request_})
    assert formats(graph)["y"] == granted
    measured = request_.get("data_type") == "U16" or operator == "Sqrt"
    assert bool(graph.findings) is not measured


def test_convolutions_become_float_at_their_output_only() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    model = model_of([node], {"x": [1, 3, 4, 4]}, {"y": None}, constants={"w": random(5, 3, 1, 1)})
    x = {"x": random(1, 3, 4, 4)}
    whole = emulated(model, [x], {"layer_name": "conv", "data_type": "FP32"})
    assert formats(whole) == {"x": "U8", "y": "U8"}
    assert "as output_data_type only" in whole.findings[0]
    behind = emulated(model, [x], {"layer_name": "conv", "output_data_type": "FP32"})
    assert formats(behind) == {"x": "U8", "y": "FP32"}


def test_names_and_types_that_are_not_built_are_findings(model: onnx.ModelProto) -> None:
    requests = (
        {"layer_names": ["scale", "nowhere"], "data_type": "U16"},
        {"op_types": ["FullyConnected"], "data_type": "U16"},
        {"start_tensor_names": ["y"], "end_tensor_names": ["x"], "data_type": "U16"},
    )
    graph = emulate_with(model, *requests)
    assert [finding.split(": ", 2)[2] for finding in graph.findings] == [
        "not built, since fused away, or never there: nowhere; the tool may refuse the whole build",
        "no operator of type FullyConnected is built; the request has no effect",
        "no operator lies between these tensors; the request has no effect",
    ]


def test_a_build_config_says_what_of_it_is_emulated() -> None:
    layers = [LayerConfig(op_type="Mul", data_type="U16")]
    quant = QuantConfig(calibration_method="MSE", enable_smooth_quant=True, layer_configs=layers)
    config = EmulationConfig.of_build(BuildConfig(quant=quant))
    assert (config.layer_configs, config.percentile) == (tuple(layers), False)
    assert [finding.split(":")[0] for finding in config.findings] == [
        "quant.calibration_method MSE",
        "quant.enable_smooth_quant",
    ]
    assert EmulationConfig.of_build(BuildConfig(quant=QuantConfig(calibration_method="Percentile"))).percentile


def test_other_settings_need_no_second_measurement(model: onnx.ModelProto) -> None:
    graph = emulate_with(model)
    wide = EmulationConfig((LayerConfig(layer_names=["scale", "turn"], data_type="U16"),))
    again = graph.requantize(wide, ranges={"y": (0.0, 2.0)})
    assert formats(again) == {**EIGHT, "scaled": "U16", "turned": "U16"}
    assert again.ranges == {**graph.ranges, "y": (0.0, 2.0)}
    assert formats(again.requantize(EmulationConfig())) == EIGHT


def test_an_operand_is_signed_only_for_products_of_as_many_bits() -> None:
    nodes = [
        helper.make_node("Abs", ["x"], ["a"], name="abs"),
        helper.make_node("MatMul", ["a", "z"], ["y"], name="live"),
    ]
    model = model_of(nodes, {"x": [3, 4], "z": [4, 5]}, {"y": [3, 5]})
    feed = [{"x": random(3, 4), "z": random(4, 5)}]
    assert formats(emulated(model, feed))["a"] == "S8"
    for data_type in ("U16", "FP32"):
        wider = emulated(model, feed, {"layer_name": "live", "data_type": data_type})
        assert formats(wider)["a"] == "U8"
        reads = next(node.input[0] for node in wider.main.graph.node if node.name == "live")
        assert reads == "a"
