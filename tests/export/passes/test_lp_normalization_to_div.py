from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from bevformer_lib.export.passes import lp_normalization_to_div
from tests.export.graphs import model_of, operators, run_model


def _norm(power: int, axis: int, opset: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("LpNormalization", ["r"], ["y"], "it", p=power, axis=axis),
    ]
    return model_of(nodes, {"x": (2, 3, 4)}, {"y": (2, 3, 4)}, opset=opset)


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("power", [1, 2])
def test_it_is_written_as_a_division(power: int, axis: int, opset: int) -> None:
    model = _norm(power, axis, opset)
    result = lp_normalization_to_div.apply(model)
    assert operators(result.model)[-1] == "Div"
    np.testing.assert_allclose(run_model(result.model)["y"], run_model(model)["y"], rtol=1e-6)


def test_nothing_but_zeros_stays_zero() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "zero"], ["z"], "zeros"),
        helper.make_node("LpNormalization", ["z"], ["y"], "it", p=2),
    ]
    model = model_of(nodes, {"x": (2, 3)}, {"y": (2, 3)}, constants={"zero": np.zeros(1, np.float32)})
    np.testing.assert_array_equal(run_model(lp_normalization_to_div.apply(model).model)["y"], np.zeros((2, 3)))
