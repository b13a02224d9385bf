from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from bevformer_lib.export.graph import static_shapes
from bevformer_lib.export.made_up_feed import made_up_feed
from bevformer_lib.export.passes import fewer_axes
from bevformer_lib.export.passes.base import PassResult
from bevformer_lib.export.run_once import run_once
from tests.export.graphs import int64, model_of, operators

WIDE = (1, 6, 4, 2, 3, 2)
"""Batch, cells, heads, levels, points, xy: as deformable attention writes its offsets."""


def _folded(model: onnx.ModelProto) -> PassResult:
    """Fold, and check that the values stay, to the last bit."""
    before = model.SerializeToString()
    result = fewer_axes.apply(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(result.model, full_check=True)
    feed = made_up_feed(model.graph)
    expected, given = run_once(model, feed), run_once(result.model, feed)
    for name, value in expected.items():
        np.testing.assert_array_equal(given[name], value)
    return result


def _between(
    nodes: Sequence[onnx.NodeProto], output: Sequence[int], constants: dict[str, NDArray[Any]] | None = None
) -> onnx.ModelProto:
    """Nodes from ``a`` to ``b``, of six axes or more, between a Reshape of the input and one to the output."""
    nodes = [
        helper.make_node("Reshape", ["x", "wide"], ["a"], "widen"),
        *nodes,
        helper.make_node("Reshape", ["b", "narrow"], ["y"], "narrow"),
    ]
    given = {"wide": int64(*WIDE), "narrow": int64(*output), **(constants or {})}
    return model_of(nodes, {"x": (6, 48)}, {"y": tuple(output)}, constants=given)


def _most_axes(model: onnx.ModelProto) -> int:
    return max(map(len, static_shapes(model).values()))


def _floats(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(0.5, 1.5, shape).astype(np.float32)


CASES: dict[str, tuple[list[onnx.NodeProto], tuple[int, ...], dict[str, NDArray[Any]]]] = {
    "one operand": ([helper.make_node("Sigmoid", ["a"], ["b"])], (6, 48), {}),
    "a number": ([helper.make_node("Mul", ["a", "n"], ["b"])], (6, 48), {"n": np.array(3, np.float32)}),
    "spread over cells": ([helper.make_node("Div", ["a", "n"], ["b"])], (6, 48), {"n": _floats(1, 1, 1, 2, 1, 2)}),
    "of fewer axes": ([helper.make_node("Add", ["a", "n"], ["b"])], (6, 48), {"n": _floats(3, 2)}),
    "every second axis": ([helper.make_node("Mul", ["a", "n"], ["b"])], (6, 48), {"n": _floats(6, 1, 2, 1, 2)}),
    "limits": ([helper.make_node("Clip", ["a", "", "n"], ["b"])], (6, 48), {"n": np.array(0.5, np.float32)}),
    "neighbours stay together": ([helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3, 4, 5])], (4, 72), {}),
    "only ones move": ([helper.make_node("Transpose", ["a"], ["b"], perm=[1, 0, 2, 3, 4, 5])], (6, 48), {}),
    "all turned around": ([helper.make_node("Transpose", ["a"], ["b"])], (6, 48), {}),
    "sum kept": ([helper.make_node("ReduceSum", ["a", "n"], ["b"], keepdims=1)], (6, 8), {"n": int64(-2, 3)}),
    "largest of two places": ([helper.make_node("ReduceMax", ["a"], ["b"], axes=[1, 4], keepdims=0)], (4, 4), {}),
    "size of ones": ([helper.make_node("ReduceL2", ["a"], ["b"], axes=[0], keepdims=1)], (6, 48), {}),
    "cut": (
        [helper.make_node("Slice", ["a", "from", "to", "n", "step"], ["b"])],
        (5, 24),
        {"from": int64(1, -1), "to": int64(2**40, -(2**40)), "n": int64(1, 3), "step": int64(1, -2)},
    ),
    "one x": ([helper.make_node("Gather", ["a", "n"], ["b"], axis=-1)], (6, 24), {"n": np.array(1)}),
    "some heads": (
        [helper.make_node("Gather", ["a", "n"], ["b"], axis=2)],
        (6, 48),
        {"n": int64(3, 0, 1, -1).reshape(2, 2)},
    ),
    "joined": (
        [helper.make_node("Concat", ["a", "n", "a"], ["b"], axis=4)],
        (6, 112),
        {"n": _floats(1, 6, 4, 2, 1, 2)},
    ),
    "shares": ([helper.make_node("Softmax", ["a"], ["b"], axis=-2)], (6, 48), {}),
    "spread": ([helper.make_node("Expand", ["a", "n"], ["b"])], (5, 288), {"n": int64(5, 1, 1, 1, 1, 1)}),
    "products": ([helper.make_node("MatMul", ["a", "n"], ["b"])], (6, 120), {"n": _floats(4, 1, 2, 5)}),
    "more axes yet": (
        [helper.make_node("Unsqueeze", ["a", "n"], ["c"]), helper.make_node("Add", ["c", "m"], ["b"])],
        (6, 96),
        {"n": int64(3), "m": _floats(2, 1, 1, 1)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_axes_are_fewer_and_the_values_the_same(case: str) -> None:
    nodes, output, constants = CASES[case]
    model = _between(nodes, output, constants)
    assert _most_axes(model) > 5
    result = _folded(model)
    assert not result.refusals
    assert _most_axes(result.model) <= 5


def test_halves_of_a_split() -> None:
    nodes = [
        helper.make_node("Split", ["a", "sizes"], ["c", "d"], axis=2),
        helper.make_node("Sub", ["c", "d"], ["e"]),
        helper.make_node("Relu", ["e"], ["b"]),
    ]
    result = _folded(_between(nodes, (6, 24), {"sizes": int64(2, 2)}))
    assert operators(result.model).count("Split") == 1 and _most_axes(result.model) <= 5


def test_a_chain_costs_a_reshape_only_where_the_axes_that_matter_change() -> None:
    nodes = [
        helper.make_node("Div", ["a", "sizes"], ["c"]),
        helper.make_node("Mul", ["c", "two"], ["d"]),
        helper.make_node("Add", ["d", "sizes"], ["b"]),
    ]
    model = _between(nodes, (6, 48), {"sizes": _floats(2), "two": np.array(2, np.float32)})
    assert operators(_folded(model).model) == ["Reshape", "Div", "Mul", "Add", "Reshape"]


def test_what_cannot_be_folded_is_refused_and_gets_all_axes() -> None:
    nodes = [
        helper.make_node("Relu", ["a"], ["c"]),
        helper.make_node("CumSum", ["c", "axis"], ["d"], "running"),
        helper.make_node("Neg", ["d"], ["b"]),
    ]
    result = _folded(_between(nodes, (6, 48), {"axis": np.array(1)}))
    assert [str(refusal) for refusal in result.refusals] == [
        "CumSum 'running': nothing is known of folding the axes of CumSum"
    ]
    assert _most_axes(result.model) == 6


def test_six_axes_that_all_move_are_refused() -> None:
    model = model_of(
        [helper.make_node("Transpose", ["x"], ["y"], "turn", perm=[5, 4, 3, 2, 1, 0])],
        {"x": (2, 2, 2, 2, 2, 2)},
        {"y": (2, 2, 2, 2, 2, 2)},
    )
    result = fewer_axes.apply(model)
    assert result.model is model and "more than 5 axes remain" in str(result.refusals[0])


def test_inputs_and_outputs_keep_their_axes() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Neg", ["h"], ["y"])]
    result = _folded(model_of(nodes, {"x": WIDE}, {"y": WIDE}))
    assert [
        len(value.type.tensor_type.shape.dim) for value in (*result.model.graph.input, *result.model.graph.output)
    ] == [6, 6]
    assert static_shapes(result.model)[result.model.graph.node[1].output[0]] == (288,)


def test_a_constant_of_six_axes_is_stored_with_fewer() -> None:
    nodes = [helper.make_node("Reshape", ["k", "wide"], ["c"]), helper.make_node("Mul", ["a", "c"], ["b"])]
    result = _folded(_between(nodes, (6, 48), {"k": _floats(*WIDE[1:], 1)}))
    assert _most_axes(result.model) <= 5


def test_a_graph_without_such_tensors_is_left_alone() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": (1, 2, 3, 4, 5)}, {"y": (1, 2, 3, 4, 5)})
    assert fewer_axes.apply(model).model is model


def test_a_constant_of_another_type() -> None:
    nodes = [
        helper.make_node("Greater", ["a", "zero"], ["c"]),
        helper.make_node("Where", ["c", "a", "n"], ["d"]),
        helper.make_node("Cast", ["c"], ["e"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["d", "e"], ["b"]),
    ]
    result = _folded(_between(nodes, (6, 48), {"zero": np.zeros(1, np.float32), "n": _floats(2, 1, 2)}))
    assert _most_axes(result.model) <= 5
