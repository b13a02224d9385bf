"""What a chip's operator list says against a graph: operators that it leaves out, and limits on those it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import onnx

from bevformer_lib.export.chip import Chip
from bevformer_lib.export.graph import STANDARD_DOMAINS
from bevformer_lib.export.lint.evidence import COMPILED_6, ON_CARD_7, Evidence, Level
from bevformer_lib.export.lint.facts import GraphFacts
from bevformer_lib.export.lint.limits import Subject, violated
from bevformer_lib.export.lint.observed import FAILING_OPERATORS
from bevformer_lib.export.lint.places import Place, Places, at
from bevformer_lib.export.lint.validity import node_fault

_OPERATOR_ADVICE: Final[Mapping[str, str]] = {
    "Cos": "write it as Sin of x + pi / 2",
    "DeformConv": "write it as GridSample and MatMul",
    "Einsum": "write it as Transpose, Reshape and MatMul",
    "If": "export one branch: the graph must be the same for every frame",
    "Loop": "unroll it: the graph must be the same for every frame",
    "Mod": "write it as x - floor(x / y) * y",
    "Neg": "multiply by -1",
    "NonZero": "mask with Where: the number of results must not depend on the data",
    "Range": "run the passes (bevformer repair): with fixed shapes it is a constant",
    "Reciprocal": "write it as Div",
    "ReduceMin": "negate, ReduceMax, negate",
    "Scan": "unroll it: the graph must be the same for every frame",
    "Shape": "run the passes (bevformer repair): with fixed shapes it is a constant",
    "Sign": "write it with Where",
    "Size": "run the passes (bevformer repair): with fixed shapes it is a constant",
    "Tile": "write it as Concat",
}
_GENERAL_ADVICE: Final = "express it with operators of the chip's list"
_LIMIT_ADVICE: Final[Mapping[str, str]] = {
    "AveragePool": "run the passes (bevformer repair): without padding the two ways of counting are the same",
    "Conv": "run the passes (bevformer repair), which write the padding out",
    "Gather": "flatten the indices, gather, and reshape the result",
    "Gemm": "run the passes (bevformer repair), which put the factors into its constants",
    "MaxPool": "run the passes (bevformer repair), which write the padding out",
    "Resize": "run the passes (bevformer repair): where every pixel is repeated the same number of times, the "
    "roundings agree",
}
_SEEN_WORKING: Final[Mapping[str, Evidence]] = {"Log": ON_CARD_7, "Neg": ON_CARD_7, "Silu": COMPILED_6}
"""Operators that compiled for AX650 (and ran, where the level says so), whether a list holds them or not."""
_SEEN_LIMITS: Final[Mapping[str, tuple[str, Evidence]]] = {"Gemm": ("KeyError AxQuantizedGemm", COMPILED_6)}
"""Operator -> what the converter said where its limit was broken, and how that is known."""


def unknown_list(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Places:
    """A chip without a published list of operators."""
    if chip.operators is None:
        yield Place(
            model.graph.name,
            why=f"no list of {chip.name}'s operators is published, so operators and their limits are not checked",
            advice="convert the graph with your version of Pulsar2 before you rely on it",
        )


def unlisted_operators(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Places:
    """Standard operators that are not on the chip's list and were not observed to fail."""
    if chip.operators is None:
        return
    for node in _standard_nodes(model):
        if node.op_type in chip.operators or node.op_type in FAILING_OPERATORS:
            continue
        seen = _SEEN_WORKING.get(node.op_type)
        worked = "" if seen is None else ", though it was seen to work for AX650"
        yield at(
            node,
            why=f"it is not on the list of {chip.name}{worked}",
            advice=_OPERATOR_ADVICE.get(node.op_type, _GENERAL_ADVICE),
            evidence=seen,
        )


def broken_limits(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Places:
    """Attributes and inputs outside what the chip's list allows for the operator; what is invalid is not judged."""
    for node in _standard_nodes(model):
        if node.op_type not in chip.limits or node_fault(node, facts.opset) is not None:
            continue
        for name, limits in chip.limits[node.op_type].items():
            reason = violated(Subject(node, name, facts), limits)
            if reason is not None:
                advice = _LIMIT_ADVICE.get(node.op_type, "change it")
                said, evidence = _SEEN_LIMITS.get(node.op_type, ("", None))
                if said:
                    reason = f"{reason} (the converter said: {said})"
                yield at(node, why=reason, advice=f"{advice} (a limit of {chip.name})", evidence=evidence)


def contradicted_operators(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Places:
    """Operators about which the editions of the vendor's list disagree; each is named once."""
    for operator, since in chip.contradicted.items():
        nodes = [node for node in _standard_nodes(model) if node.op_type == operator]
        if nodes:
            why = (
                f"since Pulsar2 {since} the vendor's two lists for {chip.name} contradict each other: the Chinese one "
                f"leaves it out, the English one holds it; nodes: {len(nodes)}"
            )
            advice = "convert a graph with your version of Pulsar2 before you rely on it, or ask the vendor"
            yield at(nodes[0], why=why, advice=advice, evidence=Evidence(Level.DOCUMENTED, since))


def _standard_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    return (node for node in model.graph.node if node.domain in STANDARD_DOMAINS)
