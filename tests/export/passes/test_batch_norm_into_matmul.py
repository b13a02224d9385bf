from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from bevformer_lib.export.passes import batch_norm_into_matmul
from tests.export.graphs import int64, model_of, operators, run_model

CHANNELS, TAPS, ROWS, COLUMNS = 4, 9, 2, 3
NORM = ["n_scale", "n_bias", "n_mean", "n_var"]


def _product(name: str, x: str, weight: str = "w") -> onnx.NodeProto:
    return helper.make_node("MatMul", [weight, x], [f"{name}_product"], f"{name}_matmul")


def _reshape(name: str, shape: str = "to_map") -> onnx.NodeProto:
    return helper.make_node("Reshape", [f"{name}_product", shape], [f"{name}_map"], f"{name}_reshape")


def _norm(name: str, tensor: str, **given: Any) -> onnx.NodeProto:
    return helper.make_node("BatchNormalization", [tensor, *NORM], [name], f"{name}_norm", **given)


def _constants(**more: NDArray[Any]) -> dict[str, NDArray[Any]]:
    generator = np.random.default_rng(0)
    statistics = dict(zip(NORM, generator.uniform(0.5, 2.0, (4, CHANNELS)).astype(np.float32), strict=True))
    weight = generator.standard_normal((CHANNELS, TAPS)).astype(np.float32)
    return {"w": weight, "to_map": int64(2, -1, ROWS, COLUMNS), **statistics, **more}


def _model(nodes: list[onnx.NodeProto], *outputs: str, **constants: NDArray[Any]) -> onnx.ModelProto:
    inputs = {"x": (2, TAPS, ROWS * COLUMNS), "x2": (2, TAPS, ROWS * COLUMNS)}
    return model_of(nodes, inputs, dict.fromkeys(outputs), constants=_constants(**constants))


def test_the_values_stay_and_the_normalisation_goes() -> None:
    model = _model([_product("y", "x"), _reshape("y"), _norm("y", "y_map", epsilon=0.1)], "y")

    result = batch_norm_into_matmul.apply(model)

    assert (result.changed, result.refusals) == (1, ())
    assert operators(model) == ["MatMul", "Reshape", "BatchNormalization"]
    assert operators(result.model) == ["MatMul", "Add", "Reshape"]
    assert {tensor.name for tensor in result.model.graph.initializer} == {"to_map", "y_weight", "y_bias"}
    np.testing.assert_allclose(run_model(result.model)["y"], run_model(model)["y"], rtol=1e-5, atol=1e-6)


def test_without_a_reshape_between_them() -> None:
    model = _model([_product("y", "x"), _norm("y", "y_product")], "y")
    result = batch_norm_into_matmul.apply(model)
    assert operators(result.model) == ["MatMul", "Add"]
    np.testing.assert_allclose(run_model(result.model)["y"], run_model(model)["y"], rtol=1e-5, atol=1e-6)


def test_interleaved_products_with_one_matrix_get_a_matrix_each() -> None:
    statistics = {"m_var": np.full(CHANNELS, 9.0, np.float32)}
    other = helper.make_node("BatchNormalization", ["z_map", *NORM[:3], "m_var"], ["z"], "z_norm")
    nodes = [_product("y", "x"), _product("z", "x2"), _reshape("z"), _reshape("y"), _norm("y", "y_map"), other]
    model = _model([*nodes, helper.make_node("MatMul", ["w", "x"], ["plain"])], "y", "z", "plain", **statistics)

    result = batch_norm_into_matmul.apply(model)

    assert result.changed == 2
    given, expected = run_model(result.model), run_model(model)
    for name in ("y", "z", "plain"):
        np.testing.assert_allclose(given[name], expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("nodes", "outputs", "reason"),
    [
        ([_product("y", "x"), _reshape("y"), _norm("y", "y_map")], ["y", "y_map"], "'y_map' is used elsewhere too"),
        ([_product("y", "x"), _reshape("y"), _norm("y", "y_map")], ["y", "y_product"], "'y_product' is used elsewhere"),
        (
            [_product("y", "x"), _reshape("y", "swapped"), _norm("y", "y_map")],
            ["y"],
            "'y_reshape' does not keep the first two axes",
        ),
        ([helper.make_node("Relu", ["x4"], ["r"], "relu"), _norm("y", "r")], ["y"], r"it follows 'relu' \(Relu\)"),
        ([_norm("y", "x4")], ["y"], "it follows 'x4', which no node computes"),
        ([_product("y", "x4", "x4"), _norm("y", "y_product")], ["y"], "left factor 'x4' is no constant matrix"),
        (
            [helper.make_node("Abs", ["n_var"], ["var"]), _product("y", "x"),
             helper.make_node("BatchNormalization", ["y_product", *NORM[:3], "var"], ["y"], "y_norm")],
            ["y"],
            "'var' is no constant",
        ),
    ],
)  # fmt: skip
def test_what_would_change_is_refused(nodes: list[onnx.NodeProto], outputs: list[str], reason: str) -> None:
    inputs = {"x": (2, TAPS, ROWS * COLUMNS), "x4": (2, CHANNELS, 5, 5)}
    constants = _constants(swapped=int64(1, CHANNELS, 2 * ROWS, COLUMNS))
    model = model_of(nodes, inputs, dict.fromkeys(outputs), constants=constants)
    result = batch_norm_into_matmul.apply(model)
    assert result.model is model
    (refusal,) = result.refusals
    assert str(refusal).startswith("BatchNormalization 'y_norm': ")
    assert re.search(reason, refusal.reason)
