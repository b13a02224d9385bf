"""Whether a chip's converter will accept a graph: one rule per function, every finding with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import onnx

from bevformer_lib.export.chip import Chip
from bevformer_lib.export.graph import (
    STANDARD_DOMAINS,
    default_opset,
    graph_inputs,
    node_label,
    static_shape,
    static_shapes,
    without_large_weights,
)
from bevformer_lib.export.limits import GraphFacts, Subject, violated

_MAX_SHAPE_ELEMENTS: Final = 1024
"""Initializers up to this size are kept for shape inference; shapes, axes and slice bounds are far smaller."""

_ADVICE: Final[Mapping[str, str]] = {
    "DeformConv": "write it as GridSample and MatMul",
    "Einsum": "write it as Transpose, Reshape and MatMul",
    "Mod": "write it as x - floor(x / y) * y",
    "Neg": "multiply by -1",
    "NonZero": "mask with Where: the number of results must not depend on the data",
    "Range": "run the passes: with fixed shapes it is a constant",
    "Reciprocal": "write it as Div",
    "Shape": "run the passes: with fixed shapes it is a constant",
    "Sign": "write it with Where",
}
_GENERAL_ADVICE: Final = "express it with operators of the chip's list"


@dataclass(frozen=True)
class Finding:
    """Something that the chip's converter won't accept.

    Attributes:
        node: label of the node, or name of the tensor.
        operator: its operator, with the domain where that is not the standard one; empty for a tensor.
        why: what is wrong.
        advice: what to do.
    """

    node: str
    operator: str
    why: str
    advice: str

    def __str__(self) -> str:
        return f"{self.operator} {self.node!r}: {self.why}; {self.advice}".lstrip()


Rule = Callable[[onnx.ModelProto, GraphFacts, Chip], Iterator[Finding]]


def check_operators(model: onnx.ModelProto, chip: Chip) -> tuple[Finding, ...]:
    """Return everything in a graph that a chip's converter won't accept, in the order of :data:`RULES`."""
    facts = graph_facts(model)
    return tuple(finding for rule in RULES for finding in rule(model, facts, chip))


def graph_facts(model: onnx.ModelProto) -> GraphFacts:
    """Return what the rules ask of a graph."""
    constants = {tensor.name for tensor in model.graph.initializer}
    constants.update(name for node in model.graph.node if node.op_type == "Constant" for name in node.output)
    return GraphFacts(
        shapes=static_shapes(without_large_weights(model, max_elements=_MAX_SHAPE_ELEMENTS)),
        constants=frozenset(constants),
        opset=default_opset(model),
    )


def opset_too_old(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Iterator[Finding]:
    """The operator set is older than the converter reads."""
    if facts.opset < chip.min_opset:
        yield Finding(
            model.graph.name,
            "",
            f"operator set {facts.opset} is older than {chip.min_opset}",
            "export it again, or convert it with onnx.version_converter",
        )


def custom_domains(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Iterator[Finding]:
    """Operators that are not the standard's, and imports of their domains."""
    for node in model.graph.node:
        if node.domain not in STANDARD_DOMAINS:
            yield Finding(
                node_label(node),
                f"{node.domain}::{node.op_type}",
                "it is no standard operator",
                "replace it with standard operators (the passes do so for grid sampling)",
            )
    used = {node.domain for node in model.graph.node}
    for entry in model.opset_import:
        if entry.domain not in STANDARD_DOMAINS and entry.domain not in used:
            yield Finding(model.graph.name, "", f"domain {entry.domain!r} is imported but not used", "drop the import")


def unlisted_operators(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Iterator[Finding]:
    """Standard operators that the chip's list does not hold."""
    for node in model.graph.node:
        if node.domain in STANDARD_DOMAINS and node.op_type not in chip.operators:
            yield Finding(
                node_label(node),
                node.op_type,
                f"it is not on the list of {chip.name}",
                _ADVICE.get(node.op_type, _GENERAL_ADVICE),
            )


def broken_limits(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Iterator[Finding]:
    """Attributes and inputs outside what the chip's list allows for the operator."""
    for node in model.graph.node:
        if node.domain not in STANDARD_DOMAINS:
            continue
        for name, limits in chip.limits.get(node.op_type, {}).items():
            reason = violated(Subject(node, name, facts), limits)
            if reason is not None:
                yield Finding(node_label(node), node.op_type, reason, f"change it: this is a limit of {chip.name}")


def shapes_not_fixed(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Iterator[Finding]:
    """Inputs, outputs and results whose shape is not fixed; of a chain of results, only where it starts."""
    advice = "export with static shapes and run the passes"
    for value in (*graph_inputs(model.graph), *model.graph.output):
        if static_shape(value) is None:
            yield Finding(value.name, "", "its declared shape is not fixed", advice)
    for node in model.graph.node:
        inputs_fixed = all(name in facts.shapes or name in facts.constants for name in node.input if name)
        unknown = [name for name in node.output if name and name not in facts.shapes and name not in facts.constants]
        if inputs_fixed and unknown:
            yield Finding(node_label(node), node.op_type, f"the shape of {unknown[0]!r} is not fixed", advice)


RULES: Final[tuple[Rule, ...]] = (opset_too_old, custom_domains, unlisted_operators, broken_limits, shapes_not_fixed)
"""Every rule, in the order in which findings are reported."""
