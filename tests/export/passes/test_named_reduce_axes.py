from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from bevformer_lib.export.passes import named_reduce_axes
from tests.export.graphs import model_of, operators, run_model


def _reduce(operator: str, opset: int, **given: int) -> onnx.ModelProto:
    node = helper.make_node(operator, ["x"], ["y"], "it", **given)
    return model_of([node], {"x": (2, 3, 4)}, {"y": None}, opset=opset)


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceSum", "ReduceMax"])
def test_all_axes_are_named_as_the_operator_set_wants_it(operator: str, opset: int) -> None:
    model = _reduce(operator, opset, keepdims=1)
    result = named_reduce_axes.apply(model)
    (node,) = result.model.graph.node
    as_attribute = opset < 18 and operator != "ReduceSum"
    assert [entry.name for entry in node.attribute if entry.name == "axes"] == (["axes"] if as_attribute else [])
    assert len(node.input) == (1 if as_attribute else 2)
    np.testing.assert_allclose(run_model(result.model)["y"], run_model(model)["y"], rtol=1e-6)


def test_where_no_axes_mean_nothing_is_reduced_it_stays() -> None:
    model = _reduce("ReduceSum", 17, noop_with_empty_axes=1)
    assert named_reduce_axes.apply(model).model is model
    assert operators(model) == ["ReduceSum"]


def test_an_empty_list_of_axes_names_none() -> None:
    node = helper.make_node("ReduceSum", ["x", "none"], ["y"], "it")
    model = model_of([node], {"x": (2, 3)}, {"y": (1, 1)}, constants={"none": np.zeros(0, np.int64)})
    result = named_reduce_axes.apply(model)
    (axes,) = result.model.graph.initializer
    assert onnx.numpy_helper.to_array(axes).tolist() == [0, 1]
    assert named_reduce_axes.apply(result.model).model is result.model
    np.testing.assert_allclose(run_model(result.model)["y"], run_model(model)["y"], rtol=1e-6)


def test_what_has_no_axes_has_none_to_name() -> None:
    model = model_of([helper.make_node("ReduceMean", ["x"], ["y"], "it")], {"x": ()}, {"y": ()})
    result = named_reduce_axes.apply(model)
    assert result.model is model and result.refusals == ()
