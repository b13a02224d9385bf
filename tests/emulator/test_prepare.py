from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bevformer_lib.emulator.prepare import prepare
from bevformer_lib.errors import ConversionError
from tests.emulator.support import random
from tests.export.graphs import int64, model_of, operators, run_model


def test_constants_of_constants_become_one() -> None:
    nodes = [
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Mul", ["w", "half"], ["halved"]),
        helper.make_node("Transpose", ["halved"], ["turned"]),
        helper.make_node("MatMul", ["x", "turned"], ["y"]),
    ]
    w = random(5, 4)
    prepared = prepare(model_of(nodes, {"x": [3, 4]}, {"y": [3, 5]}, constants={"w": w}))
    assert operators(prepared.model) == ["MatMul"]
    np.testing.assert_array_equal(prepared.constants["turned"], (w * np.float32(0.5)).T)


def test_what_changes_nothing_is_gone() -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        helper.make_node("Mul", ["a", "one"], ["b"]),
        helper.make_node("Add", ["zero", "b"], ["c"]),
        helper.make_node("Reshape", ["c", "shape"], ["d"]),
        helper.make_node("Div", ["d", "one"], ["e"]),
        helper.make_node("Abs", ["e"], ["y"]),
    ]
    constants = {"one": np.float32(1), "zero": np.zeros((1, 1), np.float32), "shape": int64(3, 4)}
    prepared = prepare(model_of(nodes, {"x": [3, 4]}, {"y": [3, 4]}, constants=constants))  # type: ignore[arg-type]
    assert operators(prepared.model) == ["Abs"]
    assert list(prepared.model.graph.node[0].input) == ["x"]


def test_what_broadcasts_or_makes_an_output_stays() -> None:
    nodes = [helper.make_node("Add", ["x", "zeros"], ["wide"]), helper.make_node("Identity", ["wide"], ["y"])]
    model = model_of(nodes, {"x": [1, 4]}, {"y": [3, 4]}, constants={"zeros": np.zeros((3, 4), np.float32)})
    assert operators(prepare(model).model) == ["Add", "Identity"]


def test_the_prepared_graph_computes_the_same() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["conv"]),
        helper.make_node("BatchNormalization", ["conv", "scale", "shift", "mean", "variance"], ["norm"]),
        helper.make_node("Div", ["norm", "divisor"], ["y"]),
    ]
    constants = {"w": random(5, 3, 2, 2), "divisor": random(5, 1, 1, low=1)}
    constants |= {name: random(5, low=0.5) for name in ("scale", "shift", "mean", "variance")}
    model = model_of(nodes, {"x": [1, 3, 4, 4]}, {"y": [1, 5, 3, 3]}, constants=constants)
    prepared = prepare(model).model
    assert operators(prepared) == ["Conv", "Mul"]
    np.testing.assert_allclose(run_model(prepared)["y"], run_model(model)["y"], rtol=1e-5, atol=1e-5)


def test_branches_are_refused() -> None:
    result = helper.make_tensor_value_info("z", TensorProto.FLOAT, [3])
    branch = helper.make_graph([helper.make_node("Abs", ["x"], ["z"])], "branch", [], [result])
    node = helper.make_node("If", ["flag"], ["y"], name="choose", then_branch=branch, else_branch=branch)
    model = model_of([node], {"x": [3]}, {"y": [3]})
    model.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    with pytest.raises(ConversionError, match=r"node 'choose' \(If\) is a branch or loop"):
        prepare(model)


def test_custom_operators_are_refused() -> None:
    node = helper.make_node("Magic", ["x"], ["y"], domain="mine")
    model = model_of([node, helper.make_node("Abs", ["y"], ["z"])], {"x": [3]}, {"z": [3]}, domains=["mine"])
    with pytest.raises(ConversionError, match=r"the type of 'y' \(Magic\) can't be worked out"):
        prepare(model)


def test_the_given_graph_is_left_alone() -> None:
    model = model_of([helper.make_node("Div", ["x", "c"], ["y"])], {"x": [3]}, {"y": [3]}, constants={"c": random(3)})
    before = model.SerializeToString(deterministic=True)
    prepare(model)
    assert model.SerializeToString(deterministic=True) == before
    assert isinstance(model, onnx.ModelProto)
