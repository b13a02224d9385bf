"""Whether every input of a graph still matters.

A value frozen while tracing cuts its input off: the vendor's exported graph reads ``can_bus`` in one small branch only,
since the shift and the rotation that it drives were computed outside the graph. An input that is cut off altogether is
found here; one that still reaches the outputs by another way is found by the parity check, whose clip moves.
"""

from __future__ import annotations

from typing import Final

import onnx

from bevformer_lib.errors import ExportError
from bevformer_lib.export.graph import graph_inputs, read_tensors
from bevformer_lib.names import OUTPUT_REFERENCES

_VALUE_BLIND: Final = frozenset({"Shape", "Size"})
"""Operators whose result does not depend on the values of their input."""


def missing_paths(graph: onnx.GraphProto) -> tuple[tuple[str, str], ...]:
    """Return every (input, output) pair where the output's value can't depend on the input's value.

    Args:
        graph: nodes in topological order, as ONNX requires.
    """
    inputs = [value.name for value in graph_inputs(graph)]
    sources: dict[str, frozenset[str]] = {name: frozenset({name}) for name in inputs}
    for node in graph.node:
        if node.op_type in _VALUE_BLIND:
            continue
        reached = frozenset[str]().union(*(sources.get(name, frozenset()) for name in read_tensors(node)))
        sources.update(dict.fromkeys(node.output, reached))
    return tuple(
        (name, output.name)
        for output in graph.output
        # Reference points of a decoder that refines none are the model's own constants.
        if output.name != OUTPUT_REFERENCES or sources.get(output.name)
        for name in inputs
        if name not in sources.get(output.name, frozenset())
    )


def require_all_paths(graph: onnx.GraphProto) -> None:
    """Raise unless every input reaches every output.

    Raises:
        ExportError: naming the pairs without a path.
    """
    missing = missing_paths(graph)
    if missing:
        pairs = ", ".join(f"{name} -> {output}" for name, output in missing)
        raise ExportError(
            f"inputs that no longer reach an output: {pairs}; a value of the traced frame was frozen into the graph"
        )
