from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from bevformer_lib.export.passes import swish_to_sigmoid
from tests.export.graphs import model_of, operators, run_model


@pytest.mark.parametrize(("alpha", "expected"), [(1.0, ["Sigmoid", "Mul"]), (1.5, ["Mul", "Sigmoid", "Mul"])])
def test_it_is_written_with_sigmoid(alpha: float, expected: list[str]) -> None:
    nodes = [
        helper.make_node("Swish", ["x"], ["y"], "it", alpha=alpha),
        helper.make_node("Identity", ["x"], ["same"], "same"),
    ]
    # ONNX Runtime knows no Swish yet.
    result = swish_to_sigmoid.apply(model_of(nodes, {"x": (2, 3)}, {"y": (2, 3), "same": (2, 3)}))
    assert operators(result.model)[:-1] == expected
    outputs = run_model(result.model)
    x = outputs["same"]
    np.testing.assert_allclose(outputs["y"], x / (1 + np.exp(-alpha * x)), rtol=1e-5)
