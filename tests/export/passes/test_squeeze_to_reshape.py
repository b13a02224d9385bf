from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from bevformer_lib.export.passes import squeeze_to_reshape
from tests.export.graphs import int64, model_of, operators, run_model


def _squeeze(shape: tuple[int | str, ...] = (1, 4, 1, 5)) -> onnx.ModelProto:
    node = helper.make_node("Squeeze", ["x", "axes"], ["y"], "it")
    return model_of([node], {"x": shape}, {"y": ("a", "b")}, constants={"axes": int64(0, 2)})


def test_it_becomes_a_reshape_of_the_same_name() -> None:
    result = squeeze_to_reshape.apply(_squeeze())
    assert (result.changed, result.refusals) == (1, ())
    assert [(node.op_type, node.name) for node in result.model.graph.node] == [("Reshape", "it")]
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(_squeeze())["y"])


def test_without_a_fixed_shape_it_is_refused() -> None:
    model = _squeeze((1, "rows", 1, 5))
    result = squeeze_to_reshape.apply(model)
    assert result.model is model
    assert [str(refusal) for refusal in result.refusals] == ["Squeeze 'it': the shape of 'y' is not fixed"]


def test_other_nodes_are_left_alone() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": (2, 3)}, {"y": (2, 3)})
    assert squeeze_to_reshape.apply(model).model is model
    assert operators(model) == ["Relu"]
