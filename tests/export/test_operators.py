from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bevformer_lib.export.chip import load_chip
from bevformer_lib.export.operators import check_operators
from bevformer_lib.export.passes.pipeline import run_passes
from tests.export.graphs import int64, model_of, vendor_like_model

AX650 = load_chip("AX650")


def _findings(model: onnx.ModelProto, *, chip: str = "AX650") -> list[str]:
    return [str(finding) for finding in check_operators(model, load_chip(chip))]


def _single(
    operator: str,
    inputs: Sequence[str] = ("x",),
    *,
    shape: Sequence[int] = (1, 4, 6, 6),
    constants: dict[str, Any] | None = None,
    opset: int = 17,
    **given: Any,
) -> onnx.ModelProto:
    """One node on input ``x``; the output's shape is left to inference."""
    node = helper.make_node(operator, inputs, ["y"], "it", **given)
    model = model_of([node], {"x": shape}, {"y": None}, constants=constants, opset=opset)
    model.graph.output[0].CopyFrom(helper.make_empty_tensor_value_info("y"))
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _limit_findings(model: onnx.ModelProto) -> list[str]:
    return [finding for finding in _findings(model) if "limit of AX650" in finding]


def test_the_repaired_vendor_graph_has_no_findings() -> None:
    assert _findings(run_passes(vendor_like_model())[0]) == []


def test_the_vendors_graph_is_told_what_to_do() -> None:
    findings = _findings(vendor_like_model())
    assert findings[0] == (
        "com.microsoft::GridSample 'sample': it is no standard operator; "
        "replace it with standard operators (the passes do so for grid sampling)"
    )
    assert (
        "Shape 'shape': it is not on the list of AX650; run the passes: with fixed shapes it is a constant" in findings
    )
    assert any("the shape of 'sampled' is not fixed" in finding for finding in findings)


def test_an_imported_but_unused_domain_is_found() -> None:
    model = _single("Relu")
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert _findings(model) == ["'hand_made': domain 'com.microsoft' is imported but not used; drop the import"]


def test_unlisted_operators_depend_on_the_chip() -> None:
    assert _findings(_single("Cos")) == []
    assert _findings(_single("Cos"), chip="AX620E") == [
        "Cos 'it': it is not on the list of AX620E; express it with operators of the chip's list"
    ]
    assert _findings(_single("Neg")) == ["Neg 'it': it is not on the list of AX650; multiply by -1"]


def test_an_old_operator_set_is_found() -> None:
    assert "operator set 9 is older than 11" in _findings(_single("Relu", opset=9))[0]


def test_dynamic_shapes_are_found_where_they_start() -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["where"], "find"),
        helper.make_node("Transpose", ["where"], ["turned"], "turn"),
        helper.make_node("Cast", ["turned"], ["y"], "cast", to=TensorProto.FLOAT),
    ]
    findings = _findings(model_of(nodes, {"x": (3, 4), "n": ("batch", 2)}, {"y": None}))
    assert "'n': its declared shape is not fixed; export with static shapes and run the passes" in findings
    assert "'y': its declared shape is not fixed; export with static shapes and run the passes" in findings
    assert [finding for finding in findings if "the shape of" in finding] == [
        "NonZero 'find': the shape of 'where' is not fixed; export with static shapes and run the passes"
    ]


WEIGHT = {"w": np.zeros((4, 4, 1, 1), np.float32)}
SCALE = {"s": np.ones(6, np.float32)}


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (_single("ArgMax", axis=1, select_last_index=1), "select_last_index is 1, only 0 is accepted"),
        (
            _single("AveragePool", kernel_shape=[2, 2]),
            "count_include_pad is 0, only 1 is accepted",
        ),
        (
            _single("Conv", ["x", "w"], constants=WEIGHT, auto_pad="SAME_UPPER"),
            "auto_pad is 'SAME_UPPER', only 'NOTSET' is accepted",
        ),
        (
            _single("ConvTranspose", ["x", "w"], constants=WEIGHT, dilations=[1, 2]),
            "dilations is [1, 2], every entry must be 1",
        ),
        (
            _single("ConvTranspose", ["x", "w"], constants=WEIGHT, output_shape=[6, 6]),
            "output_shape must be left out",
        ),
        (_single("Cast", to=TensorProto.INT64), "to is 'int64', accepted are uint8, int8"),
        (_single("Cast", to=TensorProto.BOOL), "to is 'bool', accepted are uint8, int8"),
        (_single("DepthToSpace", blocksize=2, mode="CRD"), "mode is 'CRD', only 'DCR' is accepted"),
        (
            _single("Gather", ["x", "i"], constants={"i": int64([0, 1])}),  # type: ignore[arg-type]
            "indices 'i' has rank 2, at most 1 is accepted",
        ),
        (
            _single(
                "Gemm",
                ["x", "w"],
                shape=(2, 3),
                constants={"w": np.zeros((3, 4), np.float32)},
                alpha=0.5,
            ),
            "alpha is 0.5; leave it out or make it 1.0",
        ),
        (
            _single("LayerNormalization", ["x", "s"], constants=SCALE, axis=2),
            "axis is 2, only the last one is accepted",
        ),
        (_single("LpNormalization", axis=1), "axis is 1, only the last one is accepted"),
        (_single("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]), "dilations is [2, 2], every entry must be 1"),
        (
            _single("Pad", ["x", "p"], constants={"p": int64(*[1] * 8)}, mode="reflect"),
            "mode is 'reflect', only 'constant'",
        ),
        (
            _single("Pad", ["x", "p", "", "a"], constants={"p": int64(1, 1), "a": int64(3)}, opset=18),
            "axes must be left out",
        ),
        (_single("Pow", ["x", "x"]), "exponent 'x' is computed, only a constant is accepted"),
        (
            _single("Pow", ["x", "e"], constants={"e": np.full(6, 2.0, np.float32)}),
            "exponent 'e' has shape (6,), only one value is accepted",
        ),
        (
            _single("Resize", ["x", "", "f"], constants={"f": np.float32([1, 1, 2, 2])}, mode="cubic"),
            "mode is 'cubic', accepted are nearest, linear",
        ),
        (
            _single("Resize", ["x", "", "f"], constants={"f": np.float32([1, 1, 2, 2])}),
            "nearest_mode is 'round_prefer_floor', only 'round_prefer_ceil' is accepted",
        ),
        (
            _single(
                "RoiAlign",
                ["x", "r", "b"],
                constants={"r": np.zeros((1, 4), np.float32), "b": int64(0)},
            ),
            "sampling_ratio must not be 0",
        ),
        (
            _single("ReduceMax", opset=18, noop_with_empty_axes=1),
            "noop_with_empty_axes is 1; leave it out or make it 0",
        ),
    ],
    ids=lambda value: value.graph.node[0].op_type if isinstance(value, onnx.ModelProto) else "",
)
def test_broken_limits_say_how(model: onnx.ModelProto, reason: str) -> None:
    findings = _limit_findings(model)
    assert len(findings) == 1, findings
    assert reason in findings[0]


@pytest.mark.parametrize(
    "model",
    [
        _single("ArgMax", axis=1),
        _single("AveragePool", kernel_shape=[2, 2], count_include_pad=1),
        _single("Conv", ["x", "w"], constants=WEIGHT),
        _single("ConvTranspose", ["x", "w"], constants=WEIGHT, dilations=[1, 1]),
        _single("Cast", to=TensorProto.INT32),
        _single("Gather", ["x", "i"], constants={"i": int64(0, 1)}),
        _single("Gather", ["x", "i"], constants={"i": np.asarray(0, np.int64)}),
        _single("Gemm", ["x", "w"], shape=(2, 3), constants={"w": np.zeros((3, 4), np.float32)}, alpha=1.0, transB=0),
        _single("LayerNormalization", ["x", "s"], constants=SCALE),
        _single("LayerNormalization", ["x", "s"], constants=SCALE, axis=3),
        _single("MaxPool", kernel_shape=[2, 2]),
        _single("Pad", ["x", "p"], constants={"p": int64(*[1] * 8)}),
        _single("Pow", ["x", "e"], constants={"e": np.asarray(2.0, np.float32)}),
        _single("Resize", ["x", "", "f"], constants={"f": np.float32([1, 1, 2, 2])}, mode="linear"),
        _single("ReduceMean", axes=[1]),
    ],
    ids=lambda model: str(model.graph.node[0].op_type),
)
def test_what_keeps_the_limits_has_no_findings(model: onnx.ModelProto) -> None:
    assert _findings(model) == []
