from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bevformer_lib.export.chip import load_chip
from bevformer_lib.export.lint.facts import graph_facts
from bevformer_lib.export.lint.run import lint
from bevformer_lib.export.lint.validity import node_fault, objections
from tests.export.graphs import model_of, vendor_like_model

AX650 = load_chip("AX650")


def _single(operator: str, inputs: tuple[str, ...] = ("x",), *, opset: int = 17, **given: object) -> onnx.ModelProto:
    node = helper.make_node(operator, inputs, ["y"], "it", **given)
    return model_of([node], {"x": (2, 3)}, {"y": (2, 3)}, opset=opset)


def _found(model: onnx.ModelProto) -> list[tuple[str, str, str]]:
    return [(finding.rule, finding.node, finding.why) for finding in lint(model, AX650).findings]


def test_a_tensor_that_nobody_computes_is_found_where_it_is_read() -> None:
    nodes = [
        helper.make_node("Add", ["x", "ghost"], ["sum"], "add"),
        helper.make_node("Relu", ["sum"], ["y"], "behind"),
    ]
    assert _found(model_of(nodes, {"x": (2,)}, {"y": (2,)})) == [
        ("undefined", "add", "it reads 'ghost', which is no input, no initializer and never computed")
    ]


def test_an_output_that_no_node_computes_is_found() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["other"], "it")]
    assert _found(model_of(nodes, {"x": (2,)}, {"y": (2,)})) == [("undefined", "y", "no node computes this output")]


def test_a_node_may_not_read_what_comes_later() -> None:
    nodes = [helper.make_node("Relu", ["later"], ["y"], "first"), helper.make_node("Abs", ["x"], ["later"], "second")]
    assert _found(model_of(nodes, {"x": (2,)}, {"y": (2,)})) == [
        ("undefined", "first", "it reads 'later', which is only computed later")
    ]


def test_a_body_reads_its_surroundings_and_nothing_else() -> None:
    def branch(read: str) -> onnx.GraphProto:
        node = helper.make_node("Add", ["x", read], ["result"])
        return helper.make_graph([node], "body", [], [helper.make_tensor_value_info("result", TensorProto.FLOAT, [2])])

    def choice(other: str) -> onnx.ModelProto:
        node = helper.make_node("If", ["c"], ["y"], "if", then_branch=branch("x"), else_branch=branch(other))
        return model_of([node], {"x": (2,)}, {"y": (2,)}, constants={"c": np.asarray(True)})

    assert {rule for rule, _, _ in _found(choice("x"))} == {"operator"}
    assert ("undefined", "if") in {(rule, node) for rule, node, _ in _found(choice("ghost"))}


def test_left_out_inputs_and_initializers_are_no_undefined_tensors() -> None:
    node = helper.make_node("Clip", ["x", "", "most"], ["y"], "it")
    assert _found(model_of([node], {"x": (2,)}, {"y": (2,)}, constants={"most": np.float32(1).reshape(())})) == []


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (_single("Cast"), "Required attribute 'to' is missing"),
        (_single("Relu", slope=1), "Unrecognized attribute: slope"),
        (_single("Softmax", axis=1.5), "Mismatched attribute type"),
        (_single("Gather"), "has input size 1 not in range [min=2, max=2]"),
        (_single("LayerNormalization", ()), "has input size 0"),
        (_single("MaxPool", kernel_shape=[2, 2], dilations=2), "Mismatched attribute type"),
        (_single("Upsample"), "is deprecated"),
        (_single(""), "it has no operator"),
    ],
    ids=lambda value: value.graph.node[0].op_type if isinstance(value, onnx.ModelProto) else "",
)
def test_a_node_that_breaks_the_standard_is_found(model: onnx.ModelProto, why: str) -> None:
    invalid = [(node, reason) for rule, node, reason in _found(model) if rule == "invalid"]
    assert [node for node, _ in invalid] == ["it"]
    assert why in invalid[0][1]


def test_every_invalid_node_is_found_not_only_the_first() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["middle"], "first"),
        helper.make_node("Relu", ["middle"], ["y"], "second", slope=1),
    ]
    found = _found(model_of(nodes, {"x": (2,)}, {"y": (2,)}))
    assert [node for rule, node, _ in found if rule == "invalid"] == ["first", "second"]


def test_a_tensor_is_computed_once() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"], "first"), helper.make_node("Abs", ["x"], ["y"], "second")]
    assert _found(model_of(nodes, {"x": (2,)}, {"y": (2,)})) == [("invalid", "second", "'y' is defined a second time")]


@pytest.mark.parametrize(
    ("nodes", "inputs", "why"),
    [
        ([helper.make_node("MatMul", ["x", "z"], ["y"])], {"x": (2, 3), "z": (4, 5)}, "Incompatible dimensions"),
        ([helper.make_node("Relu", ["x"], ["y"])], {"x": (2, 3)}, "Inferred shape and existing shape differ"),
    ],
    ids=["operands", "declared output"],
)
def test_shapes_that_contradict_each_other_are_found(
    nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, ...]], why: str
) -> None:
    found = _found(model_of(nodes, inputs, {"y": (2, 2)}))
    assert [(rule, node) for rule, node, _ in found] == [("invalid", "hand_made")]
    assert why in found[0][2]


def test_a_domain_without_import_is_found() -> None:
    model = _single("Relu")
    model.graph.node[0].domain = "mmdeploy"
    assert {rule for rule, _, _ in _found(model)} == {"invalid", "custom-domain"}


def test_types_that_the_standard_does_not_know_are_found() -> None:
    model = _single("Relu")
    model.graph.input[0].type.tensor_type.elem_type = 99
    assert ("tensor-type", "x", "the input is type 99") in _found(model)
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": (2,)}, {"y": (2,)}, constants={"w": np.ones(2)})
    model.graph.initializer[0].data_type = 88
    assert _found(model) == [("invalid", "w", "it has no type that ONNX knows")]


def test_a_type_that_cast_cannot_make_breaks_its_limit() -> None:
    reasons = {rule: why for rule, _, why in _found(_single("Cast", to=99))}
    assert "does not specify a valid type" in reasons["invalid"]
    assert reasons["limit"].startswith("to is 'type 99', accepted are uint8")


@pytest.mark.parametrize("operator", ["LayerNormalization", "Silu"])
def test_operators_that_the_standard_does_not_know_at_this_version_are_not_judged(operator: str) -> None:
    assert _found(_single(operator, ("x", "x"), opset=13)) == []


@pytest.mark.parametrize("operator", ["Resize", "RoiAlign"])
def test_graphs_older_than_their_operators_are_told_so(operator: str) -> None:
    assert [rule for rule, _, _ in _found(_single(operator, ("x", "x"), opset=9))] == ["opset"]


def test_both_spellings_of_the_standard_domain_are_checked() -> None:
    node = helper.make_node("Cast", ["x"], ["y"], domain="ai.onnx")
    assert node_fault(node, 17) == "Required attribute 'to' is missing"
    node.attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
    assert node_fault(node, 17) is None


def test_a_valid_graph_has_no_objections() -> None:
    model = vendor_like_model()
    assert list(objections(model, graph_facts(model))) == []


def test_objections_name_node_or_tensor() -> None:
    nodes = [helper.make_node("Add", ["x", "ghost"], ["sum"], "add"), helper.make_node("Cast", ["sum"], ["z"], "cast")]
    model = model_of(nodes, {"x": (2,)}, {"y": (2,)})
    assert list(objections(model, graph_facts(model)))[:3] == [
        "Cast 'cast': Required attribute 'to' is missing",
        "Add 'add': 'ghost' is computed nowhere before",
        "the graph's outputs: 'y' is computed nowhere before",
    ]
