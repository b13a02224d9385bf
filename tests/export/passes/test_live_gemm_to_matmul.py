from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from bevformer_lib.export.passes import live_gemm_to_matmul
from tests.export.graphs import model_of, operators, run_model


def _gemm(bias: str | None, **given: float) -> onnx.ModelProto:
    inputs = {"x": (4, 3) if given.get("transA") else (3, 4), "z": (5, 4) if given.get("transB") else (4, 5)}
    constants = {}
    names = ["x", "z"]
    if bias == "live":
        inputs["b"] = (1, 5)
        names.append("b")
    elif bias == "constant":
        constants["b"] = np.linspace(0, 1, 5, dtype=np.float32)
        names.append("b")
    node = helper.make_node("Gemm", names, ["y"], "it", **given)
    return model_of([node], inputs, {"y": (3, 5)}, constants=constants)


@pytest.mark.parametrize("bias", [None, "live", "constant"])
@pytest.mark.parametrize("given", [{}, {"alpha": 0.5, "beta": 3.0}, {"transA": 1, "transB": 1}], ids=str)
def test_it_becomes_a_product_and_a_sum(bias: str | None, given: dict[str, float]) -> None:
    model = _gemm(bias, **given)
    result = live_gemm_to_matmul.apply(model)
    assert result.changed == 1
    assert "Gemm" not in operators(result.model)
    assert result.model.graph.node[-1].name == "it"
    np.testing.assert_allclose(run_model(result.model)["y"], run_model(model)["y"], rtol=1e-5, atol=1e-6)


def test_a_constant_weight_stays() -> None:
    constants = {"w": np.ones((4, 5), np.float32)}
    model = model_of([helper.make_node("Gemm", ["x", "w"], ["y"])], {"x": (3, 4)}, {"y": (3, 5)}, constants=constants)
    assert live_gemm_to_matmul.apply(model).model is model
