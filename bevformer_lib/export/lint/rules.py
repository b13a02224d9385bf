"""The rules, one function each: what a chip's converter refuses, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import onnx
from onnx import TensorProto

from bevformer_lib.export.chip import Chip
from bevformer_lib.export.graph import STANDARD_DOMAINS, graph_inputs, node_label
from bevformer_lib.export.lint.facts import GraphFacts, type_name
from bevformer_lib.export.lint.findings import Finding, Severity
from bevformer_lib.export.lint.limits import Subject, violated
from bevformer_lib.export.lint.validity import invalid_nodes, node_fault, undefined_tensors
from bevformer_lib.onnx_file import weight_faults

MAX_RANK: Final = 5
"""Most axes of a tensor."""

_OPERATOR_ADVICE: Final[Mapping[str, str]] = {
    "Cos": "write it as Sin of x + pi / 2",
    "DeformConv": "write it as GridSample and MatMul",
    "Einsum": "write it as Transpose, Reshape and MatMul",
    "If": "export one branch: the graph must be the same for every frame",
    "Loop": "unroll it: the graph must be the same for every frame",
    "Mod": "write it as x - floor(x / y) * y",
    "Neg": "multiply by -1",
    "NonZero": "mask with Where: the number of results must not depend on the data",
    "Range": "run the passes: with fixed shapes it is a constant",
    "Reciprocal": "write it as Div",
    "ReduceMin": "negate, ReduceMax, negate",
    "Scan": "unroll it: the graph must be the same for every frame",
    "Shape": "run the passes: with fixed shapes it is a constant",
    "Sign": "write it with Where",
    "Size": "run the passes: with fixed shapes it is a constant",
    "Tile": "write it as Concat",
}
_GENERAL_ADVICE: Final = "express it with operators of the chip's list"
_LIMIT_ADVICE: Final[Mapping[str, str]] = {
    "AveragePool": "run the passes: without padding the two ways of counting are the same",
    "Conv": "run the passes, which write the padding out",
    "Gather": "flatten the indices, gather, and reshape the result",
    "MaxPool": "run the passes, which write the padding out",
    "Resize": "run the passes: where every pixel is repeated the same number of times, the roundings agree",
}
_SHAPE_ADVICE: Final = "export with static shapes and run the passes"
_INVALID_ADVICE: Final = "export it again; what else is wrong may only show then"

_INT64_BY_DEFINITION: Final[Mapping[str, tuple[int, ...]]] = {"ArgMax": (0,), "ArgMin": (0,), "TopK": (1,)}
"""Operator -> positions of the outputs that the ONNX standard makes int64, whatever goes in."""


Findings = Iterator[Finding]
Rule = Callable[[onnx.ModelProto, GraphFacts, Chip], Findings]


def opset_too_old(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Findings:
    """The operator set is older than the converter reads."""
    if facts.opset < chip.min_opset:
        yield _error(
            "opset",
            model.graph.name,
            why=f"operator set {facts.opset} is older than {chip.min_opset}",
            advice="export it again, or convert it with onnx.version_converter",
        )


def invalid_onnx(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Findings:
    """Nodes and constants that break the standard; where no node does, shapes that don't fit together."""
    for name, why in weight_faults(model.graph):
        yield _error("invalid", name, why=f"it {why}", advice=_INVALID_ADVICE)
    if not model.graph.output:
        yield _error("invalid", model.graph.name, why="it names no outputs", advice=_INVALID_ADVICE)
    faults = list(invalid_nodes(model, facts.opset))
    for node, why in faults:
        yield _at(node, "invalid", why=why, advice=_INVALID_ADVICE)
    if facts.contradiction and not faults and not any(undefined_tensors(model.graph)):
        yield _error("invalid", model.graph.name, why=facts.contradiction, advice=_INVALID_ADVICE)


def undefined_names(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Findings:
    """Tensors that are read or given out, but that nothing defines."""
    computed = {name for node in model.graph.node for name in node.output}
    for node, name in undefined_tensors(model.graph):
        if node is None:
            yield _error("undefined", name, why="no node computes this output", advice=_INVALID_ADVICE)
        else:
            reason = "only computed later" if name in computed else "no input, no initializer and never computed"
            yield _at(node, "undefined", why=f"it reads {name!r}, which is {reason}", advice=_INVALID_ADVICE)


def custom_domains(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Findings:
    """Operators that are not the standard's."""
    for node in model.graph.node:
        if node.domain not in STANDARD_DOMAINS:
            yield _at(
                node,
                "custom-domain",
                why="it is no standard operator",
                advice="replace it with standard operators (the passes do so for grid sampling)",
            )


def unused_domains(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Findings:
    """Imports of operator domains that no node uses."""
    used = {node.domain for node in model.graph.node}
    for entry in model.opset_import:
        if entry.domain not in STANDARD_DOMAINS and entry.domain not in used:
            yield Finding(
                "unused-domain",
                Severity.WARNING,
                model.graph.name,
                "",
                f"domain {entry.domain!r} is imported but not used",
                "drop the import",
            )


def unlisted_operators(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Findings:
    """Standard operators that the chip's list does not hold."""
    for node in _standard_nodes(model):
        if node.op_type not in chip.operators:
            yield _at(
                node,
                "operator",
                why=f"it is not on the list of {chip.name}",
                advice=_OPERATOR_ADVICE.get(node.op_type, _GENERAL_ADVICE),
            )


def broken_limits(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Findings:
    """Attributes and inputs outside what the chip's list allows for the operator; what is invalid is not judged."""
    for node in _standard_nodes(model):
        if node.op_type not in chip.limits or node_fault(node, facts.opset) is not None:
            continue
        for name, limits in chip.limits[node.op_type].items():
            reason = violated(Subject(node, name, facts), limits)
            if reason is not None:
                advice = _LIMIT_ADVICE.get(node.op_type, "change it")
                yield _at(node, "limit", why=reason, advice=f"{advice} (a limit of {chip.name})")


def known_broken(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Findings:
    """Operators that are listed, but reported to give wrong results on the board."""
    for node in _standard_nodes(model):
        if node.op_type in chip.broken and node.op_type in chip.operators:
            yield _at(
                node,
                "known-broken",
                why="the converter takes it, but it is reported broken on the board",
                advice="replace it, or compare the board's output with ONNX Runtime's and waive the rule",
            )


def contradicted_operators(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Findings:
    """Operators about which the editions of the vendor's list disagree; each is named once."""
    for operator, since in chip.contradicted.items():
        nodes = [node for node in _standard_nodes(model) if node.op_type == operator]
        if nodes:
            why = (
                f"since Pulsar2 {since} the vendor's two lists for {chip.name} contradict each other: the Chinese one "
                f"leaves it out, the English one holds it; nodes: {len(nodes)}"
            )
            advice = "convert a graph with your version of Pulsar2 before you rely on it, or ask the vendor"
            yield _at(nodes[0], "contradicted", why=why, advice=advice, severity=Severity.WARNING)


def dynamic_shapes(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Findings:
    """Tensors of known rank with a size that is not fixed; of a chain, only where it starts."""
    yield from _shape_findings(
        model,
        facts,
        "dynamic-shape",
        lambda name: name in facts.ranks,
        declared="its declared shape is not fixed",
        computed="the shape of {!r} is not fixed",
    )


def missing_shapes(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Findings:
    """Tensors of which not even the number of axes is known; of a chain, only where it starts."""
    yield from _shape_findings(
        model,
        facts,
        "missing-shape",
        lambda name: name not in facts.ranks,
        declared="it has no shape",
        computed="the shape of {!r} is neither declared nor can it be inferred",
    )


def int64_tensors(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Findings:
    """Inputs and results of 64-bit integers; constants (indices, shapes) are the standard's and are fine."""
    for value in graph_inputs(model.graph):
        if facts.types.get(value.name) == TensorProto.INT64:
            yield _error("int64", value.name, why="the input is int64", advice="feed int32")
    for node, position in _int64_outputs(model, facts):
        if position not in _INT64_BY_DEFINITION.get(node.op_type, ()):
            yield _at(
                node,
                "int64",
                why=f"{node.output[position]!r} is int64 and not a constant",
                advice="run the passes, which fold shape arithmetic; compute data in int32 or float32",
            )


def int64_indices(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Findings:
    """Indices that the standard makes int64, whatever goes in."""
    for node, position in _int64_outputs(model, facts):
        if position in _INT64_BY_DEFINITION.get(node.op_type, ()):
            yield _at(
                node,
                "int64-index",
                why=f"its indices {node.output[position]!r} are int64, as the standard demands",
                advice="use them as indices only, do not compute with them",
                severity=Severity.WARNING,
            )


def tensor_types(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Findings:
    """Inputs and results of a type that the chip does not compute with (int64 has rules of its own)."""
    accepted = {*chip.tensor_types, "bool", "int64"}
    for value in graph_inputs(model.graph):
        name = _type_name(facts, value.name)
        if name is not None and name not in accepted:
            yield _error("tensor-type", value.name, why=f"the input is {name}", advice=_type_advice(chip))
    for node in model.graph.node:
        for output in node.output:
            name = _type_name(facts, output)
            if name is not None and name not in accepted and output not in facts.constants:
                yield _at(node, "tensor-type", why=f"{output!r} is {name}", advice=_type_advice(chip))


def high_ranks(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Findings:
    """Tensors with more axes than :data:`MAX_RANK`."""
    advice = f"fold axes together, so that at most {MAX_RANK} remain"
    for name in (*(value.name for value in model.graph.input), *(tensor.name for tensor in model.graph.initializer)):
        if facts.ranks.get(name, 0) > MAX_RANK:
            yield _error("rank", name, why=f"it has {facts.ranks[name]} axes", advice=advice)
    for node in model.graph.node:
        for name in node.output:
            if facts.ranks.get(name, 0) > MAX_RANK:
                yield _at(node, "rank", why=f"{name!r} has {facts.ranks[name]} axes", advice=advice)


RULES: Final[Mapping[str, Rule]] = {
    "opset": opset_too_old,
    "invalid": invalid_onnx,
    "undefined": undefined_names,
    "custom-domain": custom_domains,
    "unused-domain": unused_domains,
    "operator": unlisted_operators,
    "limit": broken_limits,
    "known-broken": known_broken,
    "contradicted": contradicted_operators,
    "dynamic-shape": dynamic_shapes,
    "missing-shape": missing_shapes,
    "int64": int64_tensors,
    "int64-index": int64_indices,
    "tensor-type": tensor_types,
    "rank": high_ranks,
}
"""Name -> rule, in the order in which findings are reported."""


def _error(rule: str, name: str, *, why: str, advice: str) -> Finding:
    return Finding(rule, Severity.ERROR, name, "", why, advice)


def _at(node: onnx.NodeProto, rule: str, *, why: str, advice: str, severity: Severity = Severity.ERROR) -> Finding:
    operator = node.op_type if node.domain in STANDARD_DOMAINS else f"{node.domain}::{node.op_type}"
    return Finding(rule, severity, node_label(node), operator, why, advice)


def _standard_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    return (node for node in model.graph.node if node.domain in STANDARD_DOMAINS)


def _shape_findings(
    model: onnx.ModelProto,
    facts: GraphFacts,
    rule: str,
    concerns: Callable[[str], bool],
    *,
    declared: str,
    computed: str,
) -> Findings:
    for value in (*graph_inputs(model.graph), *model.graph.output):
        if value.name not in facts.shapes and concerns(value.name):
            yield _error(rule, value.name, why=declared, advice=_SHAPE_ADVICE)
    fixed = {*facts.shapes, *facts.constants, ""}
    for node in model.graph.node:
        unknown = [name for name in node.output if name not in fixed and concerns(name)]
        if unknown and fixed.issuperset(node.input):
            yield _at(node, rule, why=computed.format(unknown[0]), advice=_SHAPE_ADVICE)


def _int64_outputs(model: onnx.ModelProto, facts: GraphFacts) -> Iterator[tuple[onnx.NodeProto, int]]:
    for node in model.graph.node:
        for position, name in enumerate(node.output):
            if facts.types.get(name) == TensorProto.INT64 and name not in facts.constants:
                yield node, position


def _type_name(facts: GraphFacts, tensor: str) -> str | None:
    code = facts.types.get(tensor, TensorProto.UNDEFINED)
    return None if code == TensorProto.UNDEFINED else type_name(code)


def _type_advice(chip: Chip) -> str:
    return f"make it one of {', '.join(chip.tensor_types)}"
