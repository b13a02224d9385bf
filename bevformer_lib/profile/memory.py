"""How much memory the activations of a graph take, were every node run in the order of the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from bevformer_lib.export.graph import graph_inputs, node_label, read_tensors


@dataclass(frozen=True)
class ActivationMemory:
    """Bytes of a graph's inputs and of what its nodes compute; weights are not among them.

    A tensor is alive from the node that computes it to the last one that reads it: inputs from the start, outputs to
    the end. Every node is taken to write a tensor of its own. A runtime that reshapes in place needs less. Tensors of
    unknown size are left out.

    Attributes:
        peak_bytes: the most that is alive at once.
        peak_node: label of the node that runs then.
        total_bytes: what is written in all.
    """

    peak_bytes: int
    peak_node: str
    total_bytes: int


def activation_memory(graph: onnx.GraphProto, sizes: Mapping[str, int]) -> ActivationMemory:
    """Follow the tensors through a graph.

    Args:
        graph: nodes in topological order, as ONNX requires.
        sizes: bytes of every input and result of known size by name; constants are not among them.
    """
    last_read = {name: index for index, node in enumerate(graph.node) for name in read_tensors(node)}
    last_read.update((value.name, len(graph.node)) for value in graph.output)
    alive = {value.name: sizes[value.name] for value in graph_inputs(graph)}
    alive_bytes = total_bytes = sum(alive.values())
    peak_bytes, peak_node = alive_bytes, "(inputs)"
    for index, node in enumerate(graph.node):
        written = {name: sizes[name] for name in node.output if name in sizes}
        alive.update(written)
        alive_bytes += sum(written.values())
        total_bytes += sum(written.values())
        if alive_bytes > peak_bytes:
            peak_bytes, peak_node = alive_bytes, node_label(node)
        for name in {*read_tensors(node), *written}:
            if name in alive and last_read.get(name, index) <= index:
                alive_bytes -= alive.pop(name)
    return ActivationMemory(peak_bytes, peak_node, total_bytes)
