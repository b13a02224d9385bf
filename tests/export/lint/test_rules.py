from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bevformer_lib.export.chip import DEFAULT_CHIP, load_chip
from bevformer_lib.export.lint.findings import Finding, Severity
from bevformer_lib.export.lint.observed import OBSERVATIONS
from bevformer_lib.export.lint.rules import RULES
from bevformer_lib.export.lint.run import lint
from bevformer_lib.export.passes.pipeline import run_passes
from tests.export.graphs import int64, model_of, vendor_like_model


def _lint(model: onnx.ModelProto, *, chip: str = "AX650") -> list[Finding]:
    return list(lint(model, load_chip(chip)).findings)


def _findings(model: onnx.ModelProto, *, chip: str = "AX650") -> list[str]:
    return [str(finding) for finding in _lint(model, chip=chip)]


NOT_OBSERVED = [rule for rule in RULES if rule not in OBSERVATIONS]
"""Those of OBSERVATIONS have their planted faults in test_observed.py."""
CHIPS = {"contradicted": "AX620E", "no-list": "AX8860"}


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


def _gather_of_unknown_size() -> onnx.ModelProto:
    model = _single("Gather", ["x", "i"], constants={"i": int64([0, 1])})  # type: ignore[arg-type]
    del model.graph.initializer[:]
    model.graph.input.append(helper.make_tensor_value_info("i", TensorProto.INT32, ["some", 2]))
    return model


def _limit_findings(model: onnx.ModelProto) -> list[str]:
    return [str(finding) for finding in _lint(model) if finding.rule == "limit"]


def test_the_repaired_vendor_graph_has_no_findings() -> None:
    assert _findings(run_passes(vendor_like_model())[0]) == []


def test_the_vendors_graph_is_told_what_to_do() -> None:
    findings = _findings(vendor_like_model())
    assert next(found for found in findings if "custom" in found) == (
        "[custom-domain] com.microsoft::GridSample 'sample': it is no standard operator (documented, Pulsar2 7.0); "
        "replace it with standard operators (bevformer repair does so for grid sampling)"
    )
    assert (
        "[operator] Shape 'shape': it is not on the list of AX650 (documented, Pulsar2 7.0); "
        "run the passes (bevformer repair): with fixed shapes it is a constant" in findings
    )
    assert any("[missing-shape]" in finding and "the shape of 'sampled'" in finding for finding in findings)
    assert any("[int64] Shape 'shape': 'features_shape' is int64" in finding for finding in findings)


def _planted(rule: str) -> onnx.ModelProto:
    """A graph with one fault."""
    if rule == "opset":
        return _single("Relu", opset=9)
    if rule == "invalid":
        return _single("Relu", slope=1)
    if rule == "undefined":
        return model_of([helper.make_node("Add", ["x", "ghost"], ["y"], "it")], {"x": (2, 3)}, {"y": (2, 3)})
    if rule == "no-list":
        return _single("Relu")
    if rule == "custom-domain":
        model = _single("Relu")
        model.opset_import.append(helper.make_opsetid("mmdeploy", 1))
        model.graph.node[0].domain = "mmdeploy"
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 6, 6]))
        return model
    if rule == "unused-domain":
        model = _single("Relu")
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        return model
    if rule == "operator":
        return _single("Neg")
    if rule == "limit":
        return _single("Conv", ["x", "w"], constants=WEIGHT, auto_pad="SAME_UPPER")
    if rule == "contradicted":
        constants = {"axes": np.array([1])}
        return _single("ReduceSum", ["x", "axes"], constants=constants)
    if rule == "dynamic-shape":
        return model_of([helper.make_node("Relu", ["x"], ["y"], "it")], {"x": ("batch", 2)}, {"y": (1, 2)})
    if rule == "missing-shape":
        model = _single("Relu")
        model.graph.input[0].type.tensor_type.ClearField("shape")
        return model
    if rule == "int64":
        return _typed("Abs", TensorProto.INT64)
    if rule == "int64-index":
        nodes = [
            helper.make_node("ArgMax", ["x"], ["best"], "it", axis=1, keepdims=0),
            helper.make_node("Gather", ["table", "best"], ["y"], "read"),
        ]
        return model_of(nodes, {"x": (3, 4)}, {"y": (3, 2)}, constants={"table": np.zeros((4, 2), np.float32)})
    if rule == "tensor-type":
        return _typed("Abs", TensorProto.DOUBLE)
    if rule == "rank":
        return _single("Relu", shape=(1, 1, 1, 1, 1, 2))
    raise KeyError(rule)


def _typed(operator: str, data_type: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], "it")],
        "hand_made",
        [helper.make_tensor_value_info("x", data_type, [2, 3])],
        [helper.make_tensor_value_info("y", data_type, [2, 3])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("rule", NOT_OBSERVED)
def test_every_rule_finds_its_planted_fault_and_no_other_rule_does(rule: str) -> None:
    findings = _lint(_planted(rule), chip=CHIPS.get(rule, DEFAULT_CHIP))
    assert {finding.rule for finding in findings} == {rule}
    assert all(finding.node and finding.why and finding.advice for finding in findings)


def test_only_what_the_converter_may_take_is_a_warning() -> None:
    severities = {
        rule: {finding.severity for finding in _lint(_planted(rule), chip=CHIPS.get(rule, DEFAULT_CHIP))}
        for rule in NOT_OBSERVED
    }
    warnings = {rule for rule, found in severities.items() if found == {Severity.WARNING}}
    assert warnings == {"unused-domain", "no-list", "operator", "int64-index", "contradicted"}
    assert all(severities[rule] == {Severity.ERROR} for rule in NOT_OBSERVED if rule not in warnings)


def test_what_the_vendors_lists_contradict_each_other_about_is_said_once_per_operator() -> None:
    nodes = [
        helper.make_node("GridSample", ["x", "grid"], ["a"], "first"),
        helper.make_node("GridSample", ["a", "grid"], ["y"], "second"),
    ]
    model = model_of(nodes, {"x": (1, 1, 2, 2), "grid": (1, 2, 2, 2)}, {"y": (1, 1, 2, 2)})
    assert _findings(model, chip="AX620E") == [
        "[contradicted] GridSample 'first': since Pulsar2 4.2 the vendor's two lists for AX620E contradict each other: "
        "the Chinese one leaves it out, the English one holds it; nodes: 2 (documented, Pulsar2 4.2); "
        "convert a graph with your version of Pulsar2 before you rely on it, or ask the vendor"
    ]
    assert _findings(model) == []


def test_unlisted_operators_depend_on_the_chip() -> None:
    assert _findings(_single("Cos")) == []
    assert _findings(_single("Cos"), chip="M76H") == []
    assert _findings(_single("Cos"), chip="AX620E") == [
        "[operator] Cos 'it': it is not on the list of AX620E (documented, Pulsar2 7.0); write it as Sin of x + pi / 2"
    ]
    assert _findings(_single("Neg")) == [
        "[operator] Neg 'it': it is not on the list of AX650, though it was seen to work for AX650 "
        "(seen on the card, Pulsar2 7.0); multiply by -1"
    ]
    assert _findings(_single("Neg"), chip="AX637") == []
    assert _findings(_single("Atan"))[0].endswith("express it with operators of the chip's list")


def test_shapes_that_are_not_fixed_are_found_where_they_start() -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["where"], "find"),
        helper.make_node("Transpose", ["where"], ["turned"], "turn"),
        helper.make_node("Cast", ["turned"], ["y"], "cast", to=TensorProto.FLOAT),
    ]
    findings = _lint(model_of(nodes, {"x": (3, 4), "n": ("batch", 2)}, {"y": ("found", 2)}))
    assert [finding.node for finding in findings if finding.rule == "dynamic-shape"] == ["n", "y", "find"]
    assert not [finding for finding in findings if finding.rule == "missing-shape"]


def test_an_operator_without_inferred_shape_is_found_once() -> None:
    nodes = [
        helper.make_node("Silu", ["x"], ["activated"], "activate"),
        helper.make_node("Relu", ["activated"], ["y"], "it"),
    ]
    findings = _lint(model_of(nodes, {"x": (3, 4)}, {"y": (3, 4)}))
    assert [(finding.rule, finding.node) for finding in findings] == [("missing-shape", "activate")]


def test_constants_may_be_int64_but_not_of_high_rank() -> None:
    model = _single("Gather", ["x", "i"], shape=(4, 6), constants={"i": int64(0, 1)})
    assert _findings(model) == []
    model = _single("Reshape", ["w", "s"], constants={"w": np.zeros((1,) * 6, np.float32), "s": int64(1)})
    assert _findings(model) == [
        "[rank] 'w': it has 6 axes (documented, Pulsar2 7.0); run the passes (bevformer repair), or fold axes "
        "together, so that at most 5 remain",
    ]


def test_int64_results_of_integer_arithmetic_are_errors_even_behind_indices() -> None:
    nodes = [
        helper.make_node("TopK", ["x", "k"], ["values", "best"], "choose", largest=1, sorted=1),
        helper.make_node("Add", ["best", "one"], ["next"], "count"),
        helper.make_node("GatherElements", ["x", "next"], ["y"], "read", axis=1),
    ]
    model = model_of(nodes, {"x": (1, 8)}, {"y": (1, 3)}, constants={"k": int64(3), "one": int64(1)})
    assert [(finding.rule, finding.node) for finding in _lint(model)] == [("int64", "count"), ("int64-index", "choose")]


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
        (_gather_of_unknown_size(), "indices 'i' has rank 2, at most 1 is accepted"),
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
    assert _limit_findings(model) == []


def test_the_documentation_has_every_rule_with_severity_and_evidence_and_no_other() -> None:
    text = (Path(__file__).parents[3] / "docs" / "lint.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (error|warning) \| ([^|]+) \|", text, flags=re.MULTILINE)
    documented = {name: (severity, evidence) for name, severity, evidence in rows}
    assert documented == {
        name: (rule.severity.value, str(OBSERVATIONS[name][0].evidence if name in OBSERVATIONS else rule.evidence))
        for name, rule in RULES.items()
    }
