from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from bevformer_lib.export.passes import written_defaults
from tests.export.graphs import int64, model_of, operators, run_model


def _one(operator: str, **given: float) -> onnx.ModelProto:
    return model_of([helper.make_node(operator, ["x"], ["y"], "it", **given)], {"x": (2, 3)}, {"y": (2, 3)})


@pytest.mark.parametrize(("operator", "alpha"), [("LeakyRelu", 0.01), ("Elu", 1.0)])
def test_the_default_slope_is_written(operator: str, alpha: float) -> None:
    result = written_defaults.apply(_one(operator))
    (written,) = result.model.graph.node[0].attribute
    assert (written.name, written.f) == ("alpha", np.float32(alpha))
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(_one(operator))["y"])


def test_what_is_written_stays() -> None:
    model = _one("LeakyRelu", alpha=0.2)
    assert written_defaults.apply(model).model is model
    assert operators(model) == ["LeakyRelu"]


def test_of_two_attributes_the_missing_one_is_added() -> None:
    node = helper.make_node("TopK", ["x", "k"], ["y", "best"], "it", largest=0)
    model = model_of([node], {"x": (2, 5)}, {"y": (2, 2)}, constants={"k": int64(2)})
    result = written_defaults.apply(model)
    assert {entry.name: entry.i for entry in result.model.graph.node[0].attribute} == {"largest": 0, "sorted": 1}
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(model)["y"])
