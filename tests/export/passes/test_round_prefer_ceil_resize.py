from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from bevformer_lib.export.graph import attributes
from bevformer_lib.export.passes import round_prefer_ceil_resize
from bevformer_lib.export.passes.base import Refusal
from tests.export.graphs import int64, model_of, run_model


def _resize(
    given_hw: tuple[int, int], wanted_hw: tuple[int, int], *, by_scales: bool = False, **modes: Any
) -> onnx.ModelProto:
    node = helper.make_node(
        "Resize", ["x", "", "scales"] if by_scales else ["x", "", "", "sizes"], ["y"], "up", **modes
    )
    scales = np.asarray([1, 1, *(w / g for g, w in zip(given_hw, wanted_hw, strict=True))], np.float32)
    constants = {"scales": scales} if by_scales else {"sizes": int64(1, 2, *wanted_hw)}
    return model_of([node], {"x": (1, 2, *given_hw)}, {"y": (1, 2, *wanted_hw)}, constants=constants)


PYTORCH = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("by_scales", [False, True])
def test_whole_factors_pick_the_same_pixels(factor: int, by_scales: bool) -> None:
    model = _resize((29, 50), (29 * factor, 50 * factor), by_scales=by_scales, **PYTORCH)

    result = round_prefer_ceil_resize.apply(model)

    assert (result.changed, result.refusals) == (1, ())
    given = attributes(result.model.graph.node[0])
    assert given["coordinate_transformation_mode"] == "half_pixel"
    assert given["nearest_mode"] == "round_prefer_ceil"
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(model)["y"])


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "pytorch_half_pixel"])
@pytest.mark.parametrize("rounding", ["round_prefer_floor", "floor", "ceil"])
@pytest.mark.parametrize("sizes", [((6, 10), (12, 20)), ((6, 10), (18, 40)), ((1, 7), (1, 21))])
def test_what_is_rewritten_gives_the_same_and_the_rest_is_refused(
    coordinates: str, rounding: str, sizes: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    model = _resize(*sizes, coordinate_transformation_mode=coordinates, nearest_mode=rounding)
    result = round_prefer_ceil_resize.apply(model)
    if result.changed:
        assert attributes(result.model.graph.node[0])["nearest_mode"] == "round_prefer_ceil"
        np.testing.assert_array_equal(run_model(result.model)["y"], run_model(model)["y"])
    else:
        assert result.model is model
        assert "with round_prefer_ceil, " in result.refusals[0].reason
        wanted = {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}
        assert not np.array_equal(run_model(_resize(*sizes, **wanted))["y"], run_model(model)["y"])


def test_the_first_pixel_that_would_differ_is_named() -> None:
    modes = {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "floor"}
    assert round_prefer_ceil_resize.apply(_resize((1, 4), (1, 8), **modes)).refusals == (
        Refusal("up", "Resize", "with round_prefer_ceil, 4 -> 8 along axis 3 would put pixel 1 at 2, not 0"),
    )


def test_a_factor_that_is_not_whole_is_refused() -> None:
    refusals = round_prefer_ceil_resize.apply(_resize((4, 4), (8, 5), **PYTORCH)).refusals
    assert [str(refusal) for refusal in refusals] == ["Resize 'up': 4 -> 5 along axis 3 is no whole factor"]


def test_unknown_shapes_are_refused() -> None:
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], "up", **PYTORCH)
    model = model_of([node], {"x": (1, 2, "h", 4)}, {"y": (1, 2, "h2", 8)}, constants={"sizes": int64(1, 2, 8, 8)})
    assert "its shapes are not fixed" in round_prefer_ceil_resize.apply(model).refusals[0].reason


def test_a_scale_that_only_rounds_to_a_whole_factor_is_refused() -> None:
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], "up", **PYTORCH)
    scales = np.asarray([1, 1, 2.25, 2], np.float32)
    model = model_of([node], {"x": (1, 2, 3, 3)}, {"y": (1, 2, 6, 6)}, constants={"scales": scales})
    assert "scale 2.25 along axis 2 is no whole factor" in round_prefer_ceil_resize.apply(model).refusals[0].reason


def test_cropping_is_refused() -> None:
    model = _resize((4, 4), (8, 8), coordinate_transformation_mode="tf_crop_and_resize", nearest_mode="floor")
    assert "'tf_crop_and_resize' is not handled" in round_prefer_ceil_resize.apply(model).refusals[0].reason


@pytest.mark.parametrize("modes", [{"mode": "linear"}, {"nearest_mode": "round_prefer_ceil"}])
def test_what_is_accepted_is_passed_through(modes: dict[str, str]) -> None:
    model = _resize((4, 4), (8, 8), **modes)
    result = round_prefer_ceil_resize.apply(model)
    assert result.model is model
    assert result.refusals == ()


def test_the_argument_is_not_modified() -> None:
    model = _resize((4, 4), (8, 8), **PYTORCH)
    before = model.SerializeToString(deterministic=True)
    assert round_prefer_ceil_resize.apply(model).changed == 1
    assert model.SerializeToString(deterministic=True) == before
