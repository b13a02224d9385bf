from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from bevformer_lib.export.passes import flat_gather
from tests.export.graphs import int64, model_of, operators, run_model


def _gather(shape: tuple[int | str, ...], indices: np.ndarray, axis: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Relu", ["x"], ["table"], "relu"),
        helper.make_node("Gather", ["table", "i"], ["y"], "it", axis=axis),
    ]
    constants = {"i": indices}
    return model_of(nodes, {"x": shape}, {"y": None}, constants=constants)


@pytest.mark.parametrize("axis", [0, 1, -3])
@pytest.mark.parametrize("indices", [int64(0, 3, 1), np.asarray(2), np.asarray([[0, 1], [3, 2]])], ids=str)
def test_table_and_indices_are_flattened(axis: int, indices: np.ndarray) -> None:
    model = _gather((4, 5, 6), indices, axis)
    result = flat_gather.apply(model)
    assert (result.changed, result.refusals) == (1, ())
    (gather,) = [node for node in result.model.graph.node if node.op_type == "Gather"]
    assert gather.attribute[0].i == 0
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(model)["y"])


def test_indices_of_two_axes_are_flattened_in_a_table_of_two() -> None:
    model = _gather((4, 5), np.asarray([[0, 1], [3, 2]]), 1)
    result = flat_gather.apply(model)
    assert result.changed == 1
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(model)["y"])


def test_along_the_last_axis_nothing_is_turned() -> None:
    model = _gather((4, 5, 6), int64(0, 1), 2)
    result = flat_gather.apply(model)
    assert operators(result.model) == ["Relu", "Reshape", "Gather", "Reshape"]
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(model)["y"])


@pytest.mark.parametrize(("shape", "axis"), [((4, 5), 0), ((4, 5), 1)])
def test_what_the_converter_takes_stays(shape: tuple[int, ...], axis: int) -> None:
    model = _gather(shape, int64(0, 1), axis)
    assert flat_gather.apply(model).model is model
    assert operators(model) == ["Relu", "Gather"]


def test_a_table_without_a_fixed_shape_is_refused() -> None:
    result = flat_gather.apply(_gather((4, "rows", 6), int64(0, 1), 0))
    assert [str(refusal) for refusal in result.refusals] == ["Gather 'it': the shape of 'table' is not fixed"]
