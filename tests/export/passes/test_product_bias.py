from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from bevformer_lib.export.passes import product_bias
from tests.export.graphs import model_of, operators, run_model

BIAS = np.linspace(-1, 1, 5, dtype=np.float32)


def _biased(*, first: bool, live: bool = True) -> onnx.ModelProto:
    product = helper.make_node("MatMul", ["x", "z"], ["product"], "product")
    add = helper.make_node("Add", ["b", "product"] if first else ["product", "b"], ["y"], "it")
    inputs = {"x": (3, 4), "z": (4, 5)} if live else {"x": (3, 4)}
    constants = {"b": BIAS} if live else {"b": BIAS, "z": np.ones((4, 5), np.float32)}
    return model_of([product, add], inputs, {"y": (3, 5)}, constants=constants)


@pytest.mark.parametrize("first", [True, False])
def test_the_bias_gets_a_second_axis_on_either_side(first: bool) -> None:
    result = product_bias.apply(_biased(first=first))
    assert result.changed == 1
    assert [list(tensor.dims) for tensor in result.model.graph.initializer] == [[1, 5]]
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(_biased(first=first))["y"])


def test_behind_a_constant_weight_the_converter_fuses_well() -> None:
    model = _biased(first=False, live=False)
    assert product_bias.apply(model).model is model
    assert operators(model) == ["MatMul", "Add"]


def test_the_product_of_a_vector_keeps_its_one_axis() -> None:
    nodes = [helper.make_node("MatMul", ["x", "z"], ["product"]), helper.make_node("Add", ["product", "b"], ["y"])]
    model = model_of(nodes, {"x": (4,), "z": (4, 5)}, {"y": (5,)}, constants={"b": BIAS})
    assert product_bias.apply(model).model is model
