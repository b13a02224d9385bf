from __future__ import annotations

import pytest
from onnx import helper

from bevformer_lib.errors import ExportError
from bevformer_lib.export.reachability import missing_paths, require_all_paths
from tests.export.graphs import model_of


def test_a_connected_graph_misses_nothing() -> None:
    nodes = [helper.make_node("Add", ["a", "b"], ["y"]), helper.make_node("Mul", ["y", "b"], ["z"])]
    model = model_of(nodes, {"a": (2,), "b": (2,)}, {"y": (2,), "z": (2,)})
    assert missing_paths(model.graph) == ()
    require_all_paths(model.graph)


def test_missing_pairs_are_named() -> None:
    nodes = [helper.make_node("Relu", ["a"], ["y"]), helper.make_node("Add", ["y", "b"], ["z"])]
    model = model_of(nodes, {"a": (2,), "b": (2,), "frozen": (2,)}, {"y": (2,), "z": (2,)})
    assert missing_paths(model.graph) == (("b", "y"), ("frozen", "y"), ("frozen", "z"))
    with pytest.raises(ExportError, match="b -> y, frozen -> y, frozen -> z; a value of the traced frame was frozen"):
        require_all_paths(model.graph)


def test_reading_only_the_shape_of_an_input_is_no_path() -> None:
    nodes = [
        helper.make_node("Shape", ["a"], ["shape"]),
        helper.make_node("Reshape", ["b", "shape"], ["y"]),
    ]
    model = model_of(nodes, {"a": (2, 3), "b": (6,)}, {"y": (2, 3)})
    assert missing_paths(model.graph) == (("a", "y"),)


def test_a_branch_inside_a_subgraph_counts() -> None:
    def branch(name: str, read: str) -> object:
        return helper.make_graph(
            [helper.make_node("Relu", [read], [f"{name}_out"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", 1, (2,))],
        )

    nodes = [
        helper.make_node("ReduceMax", ["a"], ["peak"], keepdims=0),
        helper.make_node("Cast", ["peak"], ["flag"], to=9),
        helper.make_node("If", ["flag"], ["y"], then_branch=branch("yes", "b"), else_branch=branch("no", "a")),
    ]
    model = model_of(nodes, {"a": (2,), "b": (2,)}, {"y": (2,)})
    assert missing_paths(model.graph) == ()
