from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from bevformer_lib.errors import ExportError
from bevformer_lib.export.passes import standard_grid_sample
from tests.export.graphs import model_of, operators, run_model, vendor_like_model


def _model(domain: str, operator: str, *, opset: int = 17, **given: Any) -> onnx.ModelProto:
    return model_of(
        [helper.make_node(operator, ["x", "grid"], ["y"], "sample", domain=domain, **given)],
        {"x": (1, 2, 6, 7), "grid": (1, 5, 4, 2)},
        {"y": (1, 2, 5, 4)},
        opset=opset,
        domains=[domain] if domain else [],
    )


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [0, 1])
def test_microsoft_grid_sample_gives_the_same_values_as_a_standard_one(
    mode: str, padding_mode: str, align_corners: int
) -> None:
    given = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    model = _model("com.microsoft", "GridSample", **given)

    result = standard_grid_sample.apply(model)

    assert (result.changed, result.refusals) == (1, ())
    assert operators(result.model) == ["GridSample"]
    assert [entry.domain for entry in result.model.opset_import] == [""]
    onnx.checker.check_model(result.model, full_check=True)
    np.testing.assert_allclose(run_model(result.model)["y"], run_model(model)["y"], rtol=1e-5, atol=1e-6)


def test_attributes_left_out_mean_the_operators_defaults() -> None:
    model = _model("com.microsoft", "GridSample")
    result = standard_grid_sample.apply(model)
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(model)["y"])


@pytest.mark.parametrize(("code", "name"), [(0, "bilinear"), (1, "nearest"), (2, "bicubic")])
def test_integer_attributes_of_mmcv_become_names(code: int, name: str) -> None:
    model = _model("mmcv", "grid_sampler", interpolation_mode=code, padding_mode=1, align_corners=1)

    result = standard_grid_sample.apply(model)

    expected = _model("", "GridSample", mode=name, padding_mode="border", align_corners=1)
    assert [entry.domain for entry in result.model.opset_import] == [""]
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(expected)["y"])


def test_an_older_operator_set_is_raised_first() -> None:
    model = _model("com.microsoft", "GridSample", opset=13, padding_mode="border")

    result = standard_grid_sample.apply(model)

    assert [(entry.domain, entry.version) for entry in result.model.opset_import] == [("", 17)]
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(model)["y"])


def test_an_older_operator_set_that_can_not_be_raised_says_so() -> None:
    model = _model("com.microsoft", "GridSample", opset=13)
    model.graph.node.append(helper.make_node("LayerNormalization", ["x", "x"], ["z"], "too_new"))
    with pytest.raises(ExportError, match=r"operator set 13 can't be converted to 17.*LayerNormalization"):
        standard_grid_sample.apply(model)


def test_from_operator_set_20_the_modes_have_other_names() -> None:
    model = _model("com.microsoft", "GridSample", opset=20, mode="bilinear")
    result = standard_grid_sample.apply(model)
    onnx.checker.check_model(result.model, full_check=True)
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(model)["y"])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"interpolation_mode": 3}, "mode 3 is none of bilinear, nearest, bicubic"),
        ({"padding_mode": "wrap"}, "padding_mode 'wrap' is none of zeros, border, reflection"),
        ({"align_corners": 2}, "align_corners is 2, neither 0 nor 1"),
        ({"radius": 4}, "attribute 'radius' has no counterpart in GridSample"),
        ({"mode": "nearest", "interpolation_mode": 1}, "both 'mode' and 'interpolation_mode' are given"),
    ],
)
def test_what_has_no_standard_equal_is_refused_with_the_reason(given: dict[str, Any], reason: str) -> None:
    model = _model("mmdeploy", "grid_sampler", **given)

    result = standard_grid_sample.apply(model)

    assert result.model is model
    assert result.changed == 0
    assert [str(refusal) for refusal in result.refusals] == [f"mmdeploy::grid_sampler 'sample': {reason}"]


def test_a_third_input_is_refused() -> None:
    node = helper.make_node("GridSample", ["x", "grid", "mask"], ["y"], "masked", domain="mmdeploy")
    model = model_of(
        [node],
        {"x": (1, 2, 6, 7), "grid": (1, 5, 4, 2), "mask": (1,)},
        {"y": (1, 2, 5, 4)},
        domains=["mmdeploy"],
    )
    assert "takes 3 inputs" in standard_grid_sample.apply(model).refusals[0].reason


def test_a_domain_still_in_use_stays_imported() -> None:
    model = vendor_like_model()
    model.graph.node.append(helper.make_node("FusedGemm", ["a"], ["b"], domain="com.microsoft"))
    result = standard_grid_sample.apply(model)
    assert [entry.domain for entry in result.model.opset_import] == ["", "com.microsoft"]


def test_the_argument_is_not_modified() -> None:
    model = vendor_like_model()
    before = model.SerializeToString(deterministic=True)
    assert standard_grid_sample.apply(model).changed == 1
    assert model.SerializeToString(deterministic=True) == before


def test_a_graph_without_custom_sampling_is_passed_through() -> None:
    model = _model("", "GridSample")
    assert standard_grid_sample.apply(model).model is model
