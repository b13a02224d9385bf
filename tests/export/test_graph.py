from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.export.graph import (
    attributes,
    constant_values,
    default_opset,
    drop_unused_nodes,
    graph_inputs,
    node_label,
    read_tensors,
    static_shape,
    static_shapes,
    without_large_weights,
)
from tests.export.graphs import int64, model_of


def test_the_operator_set_is_that_of_the_standard_domain() -> None:
    model = model_of([], {}, {}, opset=15, domains=["com.microsoft"])
    assert default_opset(model) == 15
    del model.opset_import[:]
    assert default_opset(model) == 1


def test_a_node_without_a_name_is_found_by_its_output() -> None:
    assert node_label(helper.make_node("Relu", ["x"], ["y"], "it")) == "it"
    assert node_label(helper.make_node("Relu", ["x"], ["y"])) == "(unnamed) -> y"


def test_attributes_are_plain_values() -> None:
    node = helper.make_node("Resize", ["x"], ["y"], mode="nearest", axes=[2, 3], antialias=0)
    assert attributes(node) == {"mode": "nearest", "axes": [2, 3], "antialias": 0}


def test_a_shape_counts_only_when_every_size_is_fixed() -> None:
    assert static_shape(helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])) == (2, 3)
    assert static_shape(helper.make_tensor_value_info("x", TensorProto.FLOAT, [])) == ()
    assert static_shape(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])) is None
    assert static_shape(helper.make_tensor_value_info("x", TensorProto.FLOAT, None)) is None


def test_initializers_listed_among_the_inputs_are_not_fed() -> None:
    model = model_of(
        [helper.make_node("Add", ["x", "w"], ["y"])], {"x": (2,)}, {"y": (2,)}, constants={"w": np.ones(2, np.float32)}
    )
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2]))
    assert [value.name for value in graph_inputs(model.graph)] == ["x"]


def test_the_light_copy_keeps_small_constants_and_every_shape() -> None:
    constants = {"w": np.zeros((30, 40), np.float32), "shape": int64(2, 20)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Reshape", ["p", "shape"], ["y"])]
    model = model_of(nodes, {"x": (1, 30)}, {"y": (2, 20)}, constants=constants)
    light = without_large_weights(model, max_elements=16)
    assert [tensor.name for tensor in light.graph.initializer] == ["shape"]
    assert {name: shape for name, shape in static_shapes(light).items() if name in ("w", "p", "y")} == {
        "w": (30, 40),
        "p": (1, 40),
        "y": (2, 20),
    }


def test_the_light_copy_leaves_out_what_is_kept_in_other_files() -> None:
    model = model_of(
        [helper.make_node("Add", ["x", "w"], ["y"])], {"x": (2,)}, {"y": (2,)}, constants={"w": np.ones(2, np.float32)}
    )
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    light = without_large_weights(model, max_elements=16)
    assert not light.graph.initializer
    assert static_shapes(light)["w"] == (2,)


def test_values_of_constants_in_every_notation() -> None:
    nodes = [
        helper.make_node("Constant", [], ["tensor"], value=numpy_helper.from_array(int64(1, 2))),
        helper.make_node("Constant", [], ["ints"], value_ints=[3, 4]),
        helper.make_node("Constant", [], ["float"], value_float=0.5),
        helper.make_node("Constant", [], ["large"], value_ints=[0] * 9),
    ]
    values = constant_values(model_of(nodes, {}, {}, constants={"given": int64(5)}).graph, max_elements=8)
    assert {name: value.tolist() for name, value in values.items()} == {
        "given": [5],
        "tensor": [1, 2],
        "ints": [3, 4],
        "float": 0.5,
    }


def test_what_nobody_reads_is_dropped_with_its_constants() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "w"], ["unread"]),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    constants = {"scale": np.ones(1, np.float32), "w": np.ones(1, np.float32)}
    graph = model_of(nodes, {"x": (2,)}, {"y": (2,)}, constants=constants).graph
    assert drop_unused_nodes(graph) == 2
    assert [node.op_type for node in graph.node] == ["Relu"]
    assert not graph.initializer


def test_tensors_read_inside_branches_count_as_read() -> None:
    branch = helper.make_graph(
        [helper.make_node("Relu", ["outer"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [2])],
    )
    node = helper.make_node("If", ["flag"], ["y"], then_branch=branch, else_branch=branch)
    assert set(read_tensors(node)) == {"flag", "outer", "inner"}
