"""One planted fault per observation; where its advice is to run the passes, they mend it and keep the values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bevformer_lib.export.chip import chip_names, load_chip
from bevformer_lib.export.lint.conditions import OCM_BYTES
from bevformer_lib.export.lint.findings import Finding, Severity
from bevformer_lib.export.lint.observed import FAILING_OPERATORS, OBSERVATIONS
from bevformer_lib.export.lint.run import lint
from bevformer_lib.export.passes.pipeline import run_passes
from tests.export.graphs import int64, model_of, run_model

MINIMAL_KERNEL = {"w": np.ones((4, 4, 3, 3), np.float32)}


def _one(
    operator: str,
    inputs: Sequence[str] = ("x",),
    *,
    shape: Sequence[int] = (2, 4, 6, 6),
    constants: dict[str, Any] | None = None,
    opset: int = 17,
    more: dict[str, Sequence[int]] | None = None,
    outputs: Sequence[str] = ("y",),
    **given: Any,
) -> onnx.ModelProto:
    node = helper.make_node(operator, inputs, outputs, "it", **given)
    model = model_of([node], {"x": shape, **(more or {})}, {"y": None}, constants=constants, opset=opset)
    model.graph.output[0].CopyFrom(helper.make_empty_tensor_value_info("y"))
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _boolean(operator: str) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["a"], "a"),
        helper.make_node("Less", ["x", "half"], ["b"], "b"),
        helper.make_node(operator, ["a", "b"], ["c"], "it"),
        helper.make_node("Cast", ["c"], ["y"], "cast", to=TensorProto.FLOAT),
    ]
    constants = {"zero": np.float32([0]), "half": np.float32([0.5])}
    return model_of(nodes, {"x": (3, 4)}, {"y": (3, 4)}, constants=constants)


def _failing(operator: str) -> onnx.ModelProto:
    """A node of a type that fails whatever it looks like; most are no operators of the set that the graph has."""
    match operator:
        case "Xor":
            return _boolean("Xor")
        case "Swish":
            return _one("Swish", alpha=1.5, opset=24)
        case "LpNormalization":
            return _one("LpNormalization", axis=-1, p=2)
        case "IsNaN":
            nodes = [
                helper.make_node("IsNaN", ["x"], ["nan"], "it"),
                helper.make_node("Cast", ["nan"], ["y"], "cast", to=TensorProto.FLOAT),
            ]
            return model_of(nodes, {"x": (3, 4)}, {"y": (3, 4)})
        case "LRN":
            return _one("LRN", size=3)
    return model_of([helper.make_node(operator, ["x"], ["y"], "it")], {"x": (3, 4)}, {"y": (3, 4)})


def _squeezed(behind: str) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Squeeze", ["x", "axis"], ["flat"], "it"),
        helper.make_node(behind, ["flat"], ["y"], "behind"),
    ]
    return model_of(nodes, {"x": (1, 4, 5)}, {"y": (4, 5)}, constants={"axis": int64(0)})


def _biased(bias: Sequence[int], *, live: bool = True) -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["x", "z"], ["product"], "product"),
        helper.make_node("Add", ["product", "b"], ["y"], "it"),
    ]
    inputs: dict[str, Sequence[int]] = {"x": (2, 3, 4)}
    constants: dict[str, Any] = {"b": np.linspace(0, 1, 5, dtype=np.float32).reshape(bias)}
    if live:
        inputs["z"] = (2, 4, 5)
    else:
        constants["z"] = np.ones((4, 5), np.float32)
    return model_of(nodes, inputs, {"y": (2, 3, 5)}, constants=constants)


def _behind_relu(operator: str, *second: str, constants: dict[str, Any]) -> onnx.ModelProto:
    nodes = [helper.make_node("Relu", ["x"], ["r"], "relu"), helper.make_node(operator, ["r", *second], ["y"], "it")]
    return model_of(nodes, {"x": (3, 4)}, {"y": (3, 4)}, constants=constants)


def _summed_up() -> onnx.ModelProto:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], "it", axes=[0, 1], keepdims=0),
        helper.make_node("Reshape", ["top", "shape"], ["y"], "shaped"),
    ]
    return model_of(nodes, {"x": (3, 4)}, {"y": (1, 1)}, constants={"shape": int64(1, 1)})


ONE = {"one": np.float32([1.0])}
PLANTED: list[tuple[str, onnx.ModelProto, str, str]] = [
    *(
        ("fails", _failing(operator), f"{operator} whatever", "seen in the compiler, Pulsar2 6.0")
        for operator in sorted(FAILING_OPERATORS)
    ),
    (
        "squeeze",
        _one("Squeeze", ["x", "axis"], shape=(1, 4), constants={"axis": int64(0)}),
        "it is the only node",
        "seen in the compiler, Pulsar2 6.0",
    ),
    ("conv-transpose", _one("ConvTranspose", ["x", "w"], constants=MINIMAL_KERNEL), "default", "compiler, Pulsar2 6.0"),
    ("reduce-axes", _one("ReduceMean"), "it names no axes: the card reduced the last axis only", "seen on the card"),
    ("low-rank", _one("Sub", ["x", "z"], shape=(6,), more={"z": (6,)}), "its result has one axis", "Pulsar2 7.0"),
    ("low-rank", _one("Mul", ["x", "x"], shape=()), "its result has no axes", "Pulsar2 7.0"),
    ("low-rank", _summed_up(), "its result has no axes", "Pulsar2 7.0"),
    ("default-attribute", _one("LeakyRelu"), "alpha is left out", "Pulsar2 6.0"),
    ("default-attribute", _one("Elu"), "alpha is left out", "Pulsar2 6.0"),
    (
        "default-attribute",
        _one("TopK", ["x", "k"], constants={"k": int64(2)}, outputs=["y", "i"], largest=1),
        "sorted is left out",
        "Pulsar2 6.0",
    ),
    ("product-bias", _biased([5]), "its bias 'b' has one axis", "Pulsar2 7.0"),
    ("live-weight", _one("Gemm", ["x", "z"], shape=(3, 4), more={"z": (4, 5)}), "'z' is computed", "Pulsar2 7.0"),
    ("live-weight", _one("Conv", ["x", "z"], more={"z": (4, 4, 3, 3)}), "'z' is computed", "Pulsar2 7.0"),
    (
        "gather-table",
        _one("Gather", ["x", "i"], shape=(5, 4, 3), constants={"i": int64(0, 3, 1)}),
        "its table 'x' has 3 axes",
        "Pulsar2 7.0",
    ),
    (
        "gather-table",
        _one("Gather", ["x", "i"], shape=(191, 4096), constants={"i": int64(7)}),
        f"3,145,732 bytes at once, {OCM_BYTES:,} are there",
        "Pulsar2 7.0",
    ),
    ("factor-one", _behind_relu("Mul", "one", constants=ONE), "'one' is 1", "Pulsar2 6.0"),
    ("factor-one", _behind_relu("Div", "one", constants=ONE), "'one' is 1", "Pulsar2 6.0"),
    (
        "lopsided-padding",
        _one("Conv", ["x", "w"], constants=MINIMAL_KERNEL, dilations=[2, 2], pads=[3, 0, 0, 0]),
        "differ before and behind",
        "Pulsar2 6.0 or 7.0",
    ),
]
RESEMBLING: list[tuple[str, onnx.ModelProto, str, str]] = [
    ("squeeze", _squeezed("Abs"), "it is one of several nodes: of one that was a graph's only node", "Pulsar2 6.0"),
    ("reduce-axes", _one("ReduceSum"), "it names no axes: of a ReduceMean the card reduced", "seen on the card"),
    (
        "reduce-axes",
        _one("ReduceSum", ["x", "none"], constants={"none": int64()}),
        "it names no axes: of a ReduceMean",
        "seen on the card",
    ),
    ("low-rank", _one("Add", ["x", "z"], shape=(6,), more={"z": (6,)}), "one axis: of Sub and Mul", "Pulsar2 7.0"),
    (
        "gather-table",
        _one("Gather", ["x", "i"], shape=(2, 4, 6), constants={"i": int64(5, 1)}, axis=2),
        "its table 'x' has 3 axes and is read along the last",
        "Pulsar2 7.0",
    ),
]
IDS = [f"{rule}-{model.graph.node[0].op_type}-{number}" for number, (rule, model, _, _) in enumerate(PLANTED)]


def _findings(model: onnx.ModelProto, rule: str, chip: str = "AX650") -> list[Finding]:
    return [finding for finding in lint(model, load_chip(chip)).findings if finding.rule == rule]


@pytest.mark.parametrize(("rule", "model", "why", "evidence"), PLANTED, ids=IDS)
def test_a_planted_fault_is_an_error_with_its_evidence(
    rule: str, model: onnx.ModelProto, why: str, evidence: str
) -> None:
    (finding,) = _findings(model, rule)
    assert finding.severity is Severity.ERROR
    assert finding.node == "it"
    assert why in f"{finding.operator} {finding.why}"
    assert evidence in str(finding.evidence)
    assert evidence in str(finding)


@pytest.mark.parametrize(
    ("rule", "model", "why", "evidence"), RESEMBLING, ids=[model.graph.node[0].op_type for _, model, _, _ in RESEMBLING]
)
def test_what_resembles_what_was_seen_is_a_warning(rule: str, model: onnx.ModelProto, why: str, evidence: str) -> None:
    (finding,) = _findings(model, rule)
    assert finding.severity is Severity.WARNING
    assert why in finding.why
    assert evidence in str(finding.evidence)


def test_every_observation_has_a_planted_fault() -> None:
    planted = {(rule, model.graph.node[-1 if rule == "factor-one" else 0].op_type) for rule, model, _, _ in PLANTED}
    assert {rule for rule, _ in planted} == set(OBSERVATIONS)
    for rule, rows in OBSERVATIONS.items():
        for row in rows:
            assert row.operators is None or rule == "fails" or any(rule == found for found, _ in planted)


@pytest.mark.parametrize("chip", chip_names())
def test_what_failed_is_an_error_for_every_chip_and_is_not_named_twice(chip: str) -> None:
    for operator in FAILING_OPERATORS:
        model = _failing(operator)
        assert len(_findings(model, "fails", chip)) == 1
        assert not [finding for finding in _findings(model, "operator", chip) if finding.operator == operator]


MENDED = [
    (rule, model)
    for rule, model, _, _ in (*PLANTED, *RESEMBLING)
    if any("run the passes" in finding.advice for finding in _findings(model, rule))
    and "bytes at once" not in _findings(model, rule)[0].why
    and "Swish" not in {node.op_type for node in model.graph.node}  # ONNX Runtime has none to compare with
]


@pytest.mark.parametrize(("rule", "model"), MENDED, ids=[model.graph.node[0].op_type for _, model in MENDED])
def test_the_passes_mend_what_their_advice_promises(rule: str, model: onnx.ModelProto) -> None:
    repaired, _ = run_passes(model)
    assert _findings(repaired, rule) == []
    for name, expected in run_model(model).items():
        np.testing.assert_allclose(run_model(repaired)[name], expected, rtol=1e-6, atol=1e-7)


def test_what_was_seen_to_work_is_not_an_error() -> None:
    assert _findings(_squeezed("Relu"), "squeeze") == []
    strided = _one("ConvTranspose", ["x", "w"], constants=MINIMAL_KERNEL, strides=[2, 2])
    assert _findings(strided, "conv-transpose") == []
    assert _findings(_one("ReduceMean", axes=[1]), "reduce-axes") == []
    assert _findings(_biased([1, 5]), "product-bias") == []
    assert _findings(_biased([5], live=False), "product-bias") == []
    assert _findings(_one("Mul", ["x", "half"], constants={"half": np.float32(0.5)}), "low-rank") == []
    fits = _one("Gather", ["x", "i"], shape=(190, 4096), constants={"i": int64(7)})
    assert _findings(fits, "gather-table") == []
    along_last = _one("Gather", ["x", "i"], shape=(8, 6), constants={"i": int64(5, 1)}, axis=1)
    assert _findings(along_last, "gather-table") == []
    of_a_vector = helper.make_node("MatMul", ["x", "z"], ["product"], "product")
    add = helper.make_node("Add", ["product", "b"], ["y"], "it")
    constants = {"b": np.ones(3, np.float32)}
    vector = model_of([of_a_vector, add], {"x": (4,), "z": (4, 3)}, {"y": (3,)}, constants=constants)
    assert _findings(vector, "product-bias") == []
    assert _findings(_one("ReduceMean", shape=()), "reduce-axes") == []
    assert _findings(_behind_relu("Mul", "half", constants={"half": np.float32([0.5])}), "factor-one") == []


def test_a_gather_along_the_last_axis_is_too_large_where_one_was() -> None:
    many = np.zeros(614_656, np.int64)
    model = _one("Gather", ["x", "i"], shape=(16, 1, 3, 50_176), constants={"i": many}, axis=3)
    (finding,) = _findings(model, "gather-table")
    assert "13,095,936 bytes at once" in finding.why


def test_swish_is_written_with_sigmoid() -> None:
    from bevformer_lib.export.passes import swish_to_sigmoid

    result = swish_to_sigmoid.apply(_failing("Swish"))
    assert _findings(result.model, "fails") == []
    result.model.opset_import[0].version = 17
    sample = run_model(result.model)["y"]
    expected = run_model(_one("Identity"))["y"]
    np.testing.assert_allclose(sample, expected / (1 + np.exp(-1.5 * expected)), rtol=1e-5)
