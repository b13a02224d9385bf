from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from bevformer_lib.export.graph import attributes
from bevformer_lib.export.passes import unpadded_average_pool
from tests.export.graphs import model_of, run_model


def _pool(**given: Any) -> onnx.ModelProto:
    node = helper.make_node("AveragePool", ["x"], ["y"], "pool", kernel_shape=[2, 3], **given)
    return model_of([node], {"x": (1, 2, 7, 9)}, {"y": (1, 2, "h", "w")})


@pytest.mark.parametrize("given", [{}, {"pads": [0, 0, 0, 0]}, {"strides": [2, 2]}, {"auto_pad": "VALID"}])
def test_without_padding_the_values_stay(given: dict[str, Any]) -> None:
    model = _pool(**given)

    result = unpadded_average_pool.apply(model)

    assert (result.changed, result.refusals) == (1, ())
    assert attributes(result.model.graph.node[0])["count_include_pad"] == 1
    assert "count_include_pad" not in attributes(model.graph.node[0])
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(model)["y"])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"pads": [0, 1, 0, 1]}, "its padding [0, 1, 0, 1] would count"),
        ({"auto_pad": "SAME_UPPER"}, "auto_pad 'SAME_UPPER' may pad"),
        ({"ceil_mode": 1, "strides": [2, 2]}, "ceil_mode lets a window hang over the edge"),
    ],
)
def test_where_counting_would_change_the_average_it_is_refused(given: dict[str, Any], reason: str) -> None:
    model = _pool(**given)
    result = unpadded_average_pool.apply(model)
    assert result.model is model
    assert [str(refusal) for refusal in result.refusals] == [f"AveragePool 'pool': {reason}"]


def test_what_counts_already_is_passed_through() -> None:
    model = _pool(count_include_pad=1, pads=[0, 1, 0, 1])
    result = unpadded_average_pool.apply(model)
    assert (result.model is model, result.refusals) == (True, ())
