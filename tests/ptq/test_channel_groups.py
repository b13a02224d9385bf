"""What is scaled together, and where there is no group."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from bevformer_lib.ptq.channel_groups import ChannelGroup, find_groups
from tests.ptq.graphs import model

W3, W1 = np.ones((4, 4, 3, 3), np.float32), np.ones((4, 4, 1, 1), np.float32)
MATRIX, VECTOR = np.ones((8, 8), np.float32), np.ones(8, np.float32)


def names(group: ChannelGroup) -> tuple[set[str], set[str]]:
    return {maker.name for maker, _ in group.makers}, {consumer.node.name for consumer in group.consumers}


def test_both_branches_of_a_residual_connection_are_one_group() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["stem"]),
        helper.make_node("Relu", ["stem"], ["a"]),
        helper.make_node("Conv", ["a", "w3"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["c"]),
        helper.make_node("Conv", ["c", "w1"], ["y"]),
    ]
    [group] = find_groups(model(nodes, {"x": [1, 4, 6, 6]}, ["y"], {"w1": W1, "w3": W3}))
    assert names(group) == ({"stem", "b"}, {"b", "y"})
    assert set(group.layouts) == {"stem", "a", "b", "sum", "c"}


@pytest.mark.parametrize(
    "reader",
    [
        helper.make_node("Sigmoid", ["a"], ["y"]),
        helper.make_node("LayerNormalization", ["a", "g"], ["y"]),
        helper.make_node("Softmax", ["a"], ["y"]),
        helper.make_node("Mul", ["a", "a"], ["y"]),
        helper.make_node("Add", ["a", "one"], ["y"]),
        helper.make_node("Identity", ["a"], ["y"]),
    ],
    ids=lambda node: node.op_type,
)
def test_a_tensor_that_something_else_reads_has_no_group(reader: onnx.NodeProto) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["z"]),
        onnx.NodeProto.FromString(reader.SerializeToString()),
    ]
    constants = {"w": MATRIX, "g": VECTOR, "one": np.ones(1, np.float32)}
    assert not find_groups(model(nodes, {"x": [1, 5, 8]}, ["y", "z"], constants))


def test_a_padding_of_ones_is_no_group_and_one_of_zeros_is() -> None:
    for value in (0, 1):
        nodes = [
            helper.make_node("Conv", ["x", "w1"], ["a"]),
            helper.make_node("Pad", ["a", "pads", "value"], ["b"]),
            helper.make_node("Conv", ["b", "w3"], ["y"]),
        ]
        constants = {
            "w1": W1,
            "w3": W3,
            "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
            "value": np.array(value, np.float32),
        }
        assert len(find_groups(model(nodes, {"x": [1, 4, 6, 6]}, ["y"], constants))) == 1 - value


def test_the_values_of_an_attention_reach_its_output_projection() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["value"]),
        helper.make_node("Reshape", ["value", "split"], ["heads"]),
        helper.make_node("Transpose", ["heads"], ["v"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["weights", "v"], ["summed"]),
        helper.make_node("Transpose", ["summed"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["turned", "join"], ["joined"]),
        helper.make_node("MatMul", ["joined", "u"], ["y"]),
    ]
    constants = {"w": MATRIX, "u": MATRIX, "split": np.array([5, 2, 4]), "join": np.array([5, 8])}
    graph = model(nodes, {"x": [5, 8], "weights": [2, 5, 5]}, ["y"], constants)
    [group] = find_groups(graph)
    assert names(group) == ({"value"}, {"y"})
    np.testing.assert_array_equal(group.consumers[0].channels, np.arange(8))
