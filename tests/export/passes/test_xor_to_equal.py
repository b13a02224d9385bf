from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from bevformer_lib.export.passes import xor_to_equal
from tests.export.graphs import model_of, operators, run_model


def test_it_is_written_with_equal() -> None:
    nodes = [
        helper.make_node("Greater", ["x", "low"], ["a"], "a"),
        helper.make_node("Greater", ["x", "high"], ["b"], "b"),
        helper.make_node("Xor", ["a", "b"], ["c"], "it"),
        helper.make_node("Cast", ["c"], ["y"], "cast", to=TensorProto.FLOAT),
    ]
    constants = {"low": np.zeros((1, 1), np.float32), "high": np.full((1, 1), 0.5, np.float32)}
    model = model_of(nodes, {"x": (8, 8)}, {"y": (8, 8)}, constants=constants)
    result = xor_to_equal.apply(model)
    assert operators(result.model) == ["Greater", "Greater", "Equal", "Not", "Cast"]
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(model)["y"])
    assert 0 < run_model(model)["y"].mean() < 1
