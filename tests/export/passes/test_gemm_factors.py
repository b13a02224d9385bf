from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from bevformer_lib.export.passes import gemm_factors
from tests.export.graphs import model_of, operators, run_model


def _gemm(*, live_bias: bool = False, **given: float) -> onnx.ModelProto:
    constants = {"w": np.arange(20, dtype=np.float32).reshape(4, 5), "b": np.ones(5, np.float32)}
    inputs = {"x": (3, 4)}
    if live_bias:
        del constants["b"]
        inputs["b"] = (1, 5)
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], "it", **given)
    return model_of([node], inputs, {"y": (3, 5)}, constants=constants)


def test_factors_go_into_weight_and_bias() -> None:
    model = _gemm(alpha=0.5, beta=2.0)
    result = gemm_factors.apply(model)
    assert (result.changed, len(result.model.graph.node[0].attribute)) == (1, 0)
    np.testing.assert_allclose(run_model(result.model)["y"], run_model(model)["y"], rtol=1e-6)


def test_a_factor_of_a_computed_bias_is_refused() -> None:
    result = gemm_factors.apply(_gemm(live_bias=True, beta=2.0))
    reason = "'b' is computed, so its factor 2 can't be multiplied in"
    assert [str(refusal) for refusal in result.refusals] == [f"Gemm 'it': {reason}"]


def test_factors_of_one_stay() -> None:
    model = _gemm(alpha=1.0)
    assert gemm_factors.apply(model).model is model
    assert operators(model) == ["Gemm"]
