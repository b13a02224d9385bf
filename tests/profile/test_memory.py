from __future__ import annotations

from onnx import helper

from bevformer_lib.profile.memory import ActivationMemory, activation_memory
from tests.export.graphs import model_of


def test_a_chain_holds_two_tensors_at_once() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "second"),
        helper.make_node("Relu", ["b"], ["y"], "third"),
    ]
    graph = model_of(nodes, {"x": (10,)}, {"y": (10,)}).graph
    assert activation_memory(graph, {"x": 40, "a": 40, "b": 60, "y": 40}) == ActivationMemory(100, "second", 180)


def test_what_is_read_later_stays_alive() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "second"),
        helper.make_node("Add", ["b", "x"], ["y"], "shortcut"),
    ]
    graph = model_of(nodes, {"x": (1,)}, {"y": (1,)}).graph
    # x 8 + a 100 + b 10 at "second"; a is gone at "shortcut".
    assert activation_memory(graph, {"x": 8, "a": 100, "b": 10, "y": 8}) == ActivationMemory(118, "second", 126)


def test_outputs_stay_to_the_end_and_unread_results_go_at_once() -> None:
    nodes = [
        helper.make_node("Split", ["x"], ["y", "unread"], "split"),
        helper.make_node("Relu", ["x"], ["a"], "a"),
        helper.make_node("Relu", ["a"], ["z"], "last"),
    ]
    graph = model_of(nodes, {"x": (2,)}, {"y": (1,), "z": (2,)}).graph
    sizes = {"x": 2, "y": 50, "unread": 1000, "a": 3, "z": 4}
    assert activation_memory(graph, sizes) == ActivationMemory(1052, "split", 1059)
    assert activation_memory(graph, {**sizes, "unread": 0}) == ActivationMemory(57, "last", 59)


def test_weights_are_not_activations() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
    graph = model_of(nodes, {"x": (2, 3)}, {"y": (2, 3)}).graph
    assert activation_memory(graph, {"x": 24, "y": 24}) == ActivationMemory(48, "product", 48)
