from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch.nn import functional as F

from bevformer_lib.export.graph import attributes
from bevformer_lib.export.passes import explicit_padding
from tests.export.graphs import model_of, run_model


def _windowed(operator: str, *, input_hw: tuple[int | str, int] = (9, 14), **given: Any) -> onnx.ModelProto:
    weight = np.random.default_rng(0).standard_normal((2, 2, 3, 4)).astype(np.float32)
    inputs = ["x", "w"] if operator == "Conv" else ["x"]
    constants = {"w": weight} if operator == "Conv" else {}
    return model_of(
        [helper.make_node(operator, inputs, ["y"], "it", **given)],
        {"x": (1, 2, *input_hw)},
        {"y": (1, 2, "h", "w")},
        constants=constants,
    )


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("strides", [None, [2, 2], [3, 1]])
@pytest.mark.parametrize("operator", ["Conv", "MaxPool", "AveragePool"])
def test_the_values_stay(operator: str, strides: list[int] | None, auto_pad: str) -> None:
    given: dict[str, Any] = {} if operator == "Conv" else {"kernel_shape": [3, 4]}
    if strides is not None:
        given["strides"] = strides
    model = _windowed(operator, auto_pad=auto_pad, **given)

    result = explicit_padding.apply(model)

    assert (result.changed, result.refusals) == (1, ())
    assert "auto_pad" not in attributes(result.model.graph.node[0])
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(model)["y"])


def test_dilation_counts() -> None:
    # ONNX Runtime refuses dilation together with automatic padding, so PyTorch tells what is right.
    result = explicit_padding.apply(_windowed("Conv", auto_pad="SAME_UPPER", dilations=[2, 3]))
    assert attributes(result.model.graph.node[0])["pads"] == [2, 4, 2, 5]
    x = np.random.default_rng(0).uniform(-1.2, 1.2, (1, 2, 9, 14)).astype(np.float32)
    weight = numpy_helper.to_array(result.model.graph.initializer[0])
    expected = F.conv2d(torch.from_numpy(x), torch.from_numpy(weight.copy()), padding="same", dilation=(2, 3))
    np.testing.assert_allclose(run_model(result.model)["y"], expected.numpy(), rtol=1e-4, atol=1e-5)


def test_the_odd_pixel_goes_where_the_name_says() -> None:
    upper, lower = (
        attributes(explicit_padding.apply(_windowed("Conv", auto_pad=auto_pad)).model.graph.node[0])["pads"]
        for auto_pad in ("SAME_UPPER", "SAME_LOWER")
    )
    assert (upper, lower) == ([1, 1, 1, 2], [1, 2, 1, 1])


def test_an_unknown_size_is_refused() -> None:
    result = explicit_padding.apply(_windowed("Conv", input_hw=("h", 14), auto_pad="SAME_UPPER"))
    assert result.changed == 0
    assert [str(refusal) for refusal in result.refusals] == ["Conv 'it': the shape of 'x' is not fixed"]


def test_ceil_mode_is_refused() -> None:
    model = _windowed("MaxPool", auto_pad="SAME_UPPER", kernel_shape=[3, 4], ceil_mode=1)
    assert "ceil_mode" in explicit_padding.apply(model).refusals[0].reason


@pytest.mark.parametrize("given", [{}, {"auto_pad": "NOTSET"}, {"pads": [1, 1, 1, 1]}])
def test_explicit_padding_is_passed_through(given: dict[str, Any]) -> None:
    model = _windowed("Conv", **given)
    assert explicit_padding.apply(model).model is model


def test_the_argument_is_not_modified() -> None:
    model = _windowed("Conv", auto_pad="SAME_UPPER")
    before = model.SerializeToString(deterministic=True)
    assert explicit_padding.apply(model).changed == 1
    assert model.SerializeToString(deterministic=True) == before
