"""What can be said against a graph whatever its operators: validity, shapes, types and ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import onnx
from onnx import TensorProto

from bevformer_lib.export.chip import Chip
from bevformer_lib.export.graph import STANDARD_DOMAINS, graph_inputs
from bevformer_lib.export.lint.facts import GraphFacts, type_name
from bevformer_lib.export.lint.places import Place, Places, at
from bevformer_lib.export.lint.validity import invalid_nodes, undefined_tensors
from bevformer_lib.onnx_file import weight_faults

MAX_RANK: Final = 5
"""Most axes of a tensor."""

_SHAPE_ADVICE: Final = "export with static shapes and run the passes (bevformer repair)"
_INVALID_ADVICE: Final = "export it again; what else is wrong may only show then"
_INT64_BY_DEFINITION: Final[Mapping[str, tuple[int, ...]]] = {"ArgMax": (0,), "ArgMin": (0,), "TopK": (1,)}
"""Operator -> positions of the outputs that the ONNX standard makes int64, whatever goes in."""


def opset_too_old(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Places:
    """The operator set is older than the converter reads."""
    if facts.opset < chip.min_opset:
        yield Place(
            model.graph.name,
            why=f"operator set {facts.opset} is older than {chip.min_opset}",
            advice="export it again, or convert it with onnx.version_converter",
        )


def invalid_onnx(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Places:
    """Nodes and constants that break the standard; where no node does, shapes that don't fit together."""
    for name, why in weight_faults(model.graph):
        yield Place(name, why=f"it {why}", advice=_INVALID_ADVICE)
    if not model.graph.output:
        yield Place(model.graph.name, why="it names no outputs", advice=_INVALID_ADVICE)
    faults = list(invalid_nodes(model, facts.opset))
    for node, why in faults:
        yield at(node, why=why, advice=_INVALID_ADVICE)
    if facts.contradiction and not faults and not any(undefined_tensors(model.graph)):
        yield Place(model.graph.name, why=facts.contradiction, advice=_INVALID_ADVICE)


def undefined_names(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Places:
    """Tensors that are read or given out, but that nothing defines."""
    computed = {name for node in model.graph.node for name in node.output}
    for node, name in undefined_tensors(model.graph):
        if node is None:
            yield Place(name, why="no node computes this output", advice=_INVALID_ADVICE)
        else:
            reason = "only computed later" if name in computed else "no input, no initializer and never computed"
            yield at(node, why=f"it reads {name!r}, which is {reason}", advice=_INVALID_ADVICE)


def custom_domains(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Places:
    """Operators that are not the standard's."""
    for node in model.graph.node:
        if node.domain not in STANDARD_DOMAINS:
            yield at(
                node,
                why="it is no standard operator",
                advice="replace it with standard operators (bevformer repair does so for grid sampling)",
            )


def unused_domains(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Places:
    """Imports of operator domains that no node uses."""
    used = {node.domain for node in model.graph.node}
    for entry in model.opset_import:
        if entry.domain not in STANDARD_DOMAINS and entry.domain not in used:
            why = f"domain {entry.domain!r} is imported but not used"
            yield Place(model.graph.name, why=why, advice="drop the import")


def dynamic_shapes(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Places:
    """Tensors of known rank with a size that is not fixed; of a chain, only where it starts."""
    yield from _shape_findings(
        model,
        facts,
        lambda name: name in facts.ranks,
        declared="its declared shape is not fixed",
        computed="the shape of {!r} is not fixed",
    )


def missing_shapes(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Places:
    """Tensors of which not even the number of axes is known; of a chain, only where it starts."""
    yield from _shape_findings(
        model,
        facts,
        lambda name: name not in facts.ranks,
        declared="it has no shape",
        computed="the shape of {!r} is neither declared nor can it be inferred",
    )


def int64_tensors(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Places:
    """Inputs and results of 64-bit integers; constants (indices, shapes) are the standard's and are fine."""
    for value in graph_inputs(model.graph):
        if facts.types.get(value.name) == TensorProto.INT64:
            yield Place(value.name, why="the input is int64", advice="feed int32")
    for node, position in _int64_outputs(model, facts):
        if position not in _INT64_BY_DEFINITION.get(node.op_type, ()):
            yield at(
                node,
                why=f"{node.output[position]!r} is int64 and not a constant",
                advice="run the passes (bevformer repair), which fold shape arithmetic; compute data in int32 or "
                "float32",
            )


def int64_indices(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Places:
    """Indices that the standard makes int64, whatever goes in."""
    for node, position in _int64_outputs(model, facts):
        if position in _INT64_BY_DEFINITION.get(node.op_type, ()):
            yield at(
                node,
                why=f"its indices {node.output[position]!r} are int64, as the standard demands",
                advice="use them as indices only, do not compute with them",
            )


def tensor_types(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Places:
    """Inputs and results of a type that the chip does not compute with (int64 has rules of its own)."""
    accepted = {*chip.tensor_types, "bool", "int64"}
    for value in graph_inputs(model.graph):
        name = _type_name(facts, value.name)
        if name is not None and name not in accepted:
            yield Place(value.name, why=f"the input is {name}", advice=_type_advice(chip))
    for node in model.graph.node:
        for output in node.output:
            name = _type_name(facts, output)
            if name is not None and name not in accepted and output not in facts.constants:
                yield at(node, why=f"{output!r} is {name}", advice=_type_advice(chip))


def high_ranks(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Places:
    """Tensors with more axes than :data:`MAX_RANK`."""
    advice = f"run the passes (bevformer repair), or fold axes together, so that at most {MAX_RANK} remain"
    for name in (*(value.name for value in model.graph.input), *(tensor.name for tensor in model.graph.initializer)):
        if facts.ranks.get(name, 0) > MAX_RANK:
            yield Place(name, why=f"it has {facts.ranks[name]} axes", advice=advice)
    for node in model.graph.node:
        for name in node.output:
            if facts.ranks.get(name, 0) > MAX_RANK:
                yield at(node, why=f"{name!r} has {facts.ranks[name]} axes", advice=advice)


def _shape_findings(
    model: onnx.ModelProto,
    facts: GraphFacts,
    concerns: Callable[[str], bool],
    *,
    declared: str,
    computed: str,
) -> Places:
    for value in (*graph_inputs(model.graph), *model.graph.output):
        if value.name not in facts.shapes and concerns(value.name):
            yield Place(value.name, why=declared, advice=_SHAPE_ADVICE)
    fixed = {*facts.shapes, *facts.constants, ""}
    for node in model.graph.node:
        unknown = [name for name in node.output if name not in fixed and concerns(name)]
        if unknown and fixed.issuperset(node.input):
            yield at(node, why=computed.format(unknown[0]), advice=_SHAPE_ADVICE)


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
