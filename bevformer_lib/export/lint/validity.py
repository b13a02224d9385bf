"""Whether a graph is valid ONNX; unlike ONNX's own checker, not only up to the first fault."""

from __future__ import annotations

from collections.abc import Iterator, Set

import onnx
from onnx.onnx_cpp2py_export.checker import CheckerContext

from bevformer_lib.export.graph import STANDARD_DOMAINS, node_label
from bevformer_lib.export.lint.facts import GraphFacts, initializer_names, one_line


def objections(model: onnx.ModelProto, facts: GraphFacts) -> Iterator[str]:
    """Yield everything that makes a graph invalid, one sentence each, naming the node or tensor."""
    for node, why in invalid_nodes(model, facts.opset):
        yield f"{node.op_type} {node_label(node)!r}: {why}".lstrip()
    for reader, name in undefined_tensors(model.graph):
        place = "the graph's outputs" if reader is None else f"{reader.op_type} {node_label(reader)!r}"
        yield f"{place}: {name!r} is computed nowhere before"
    if facts.contradiction:
        yield facts.contradiction


def undefined_tensors(
    graph: onnx.GraphProto, outside: Set[str] = frozenset()
) -> Iterator[tuple[onnx.NodeProto | None, str]]:
    """Yield every tensor that is neither an input, nor an initializer, nor computed by a node before its reader.

    Args:
        graph: the graph, or the body of a node.
        outside: what the body's surroundings define.

    Yields:
        the reading node, or ``None`` for an output of the graph; the tensor's name.
    """
    defined = {"", *outside, *(value.name for value in graph.input), *initializer_names(graph)}
    for node in graph.node:
        bodies = [body for entry in node.attribute for body in (*entry.graphs, entry.g)]
        read = [*node.input, *(name for body in bodies for _, name in undefined_tensors(body, defined))]
        yield from ((node, name) for name in dict.fromkeys(read) if name not in defined)
        defined.update(node.output)
    yield from ((None, value.name) for value in graph.output if value.name not in defined)


def invalid_nodes(model: onnx.ModelProto, opset: int) -> Iterator[tuple[onnx.NodeProto, str]]:
    """Yield the nodes that break the standard, and how."""
    defined = {*(value.name for value in model.graph.input), *initializer_names(model.graph)}
    for node in model.graph.node:
        fault = node_fault(node, opset)
        if fault is not None:
            yield node, fault
        yield from ((node, f"{name!r} is defined a second time") for name in node.output if name in defined)
        defined.update(name for name in node.output if name)


def node_fault(node: onnx.NodeProto, opset: int) -> str | None:
    """Return what ONNX's checker objects to in the attributes and counts of a node, or ``None``.

    Operators that the standard does not know at this version can't be judged; nodes with bodies neither, since the
    bodies read from outside.
    """
    if not node.op_type:
        return "it has no operator"
    has_body = any(entry.HasField("g") or entry.graphs for entry in node.attribute)
    if node.domain not in STANDARD_DOMAINS or has_body or not onnx.defs.has(node.op_type, opset):
        return None
    if node.domain:  # the checker knows one of the two spellings
        spelled = onnx.NodeProto()
        spelled.CopyFrom(node)
        spelled.domain = ""
        node = spelled
    context = CheckerContext()
    context.ir_version = onnx.IR_VERSION
    context.opset_imports = {"": opset}
    try:
        onnx.checker.check_node(node, context)
    except onnx.checker.ValidationError as error:
        return one_line(error)
    return None
