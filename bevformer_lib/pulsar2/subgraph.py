"""The part of a graph between tensors, as the converter's settings name it."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from bevformer_lib.pulsar2.build_config import DEFAULT_TENSORS


def tensors_between(graph: onnx.GraphProto, starts: Sequence[str], ends: Sequence[str]) -> set[str]:
    """Return the outputs of all nodes that depend on a start tensor and that an end tensor depends on.

    ``DEFAULT`` stands for the graph's inputs or outputs.
    """
    begins = [value.name for value in graph.input] if DEFAULT_TENSORS in starts else starts
    finishes = [value.name for value in graph.output] if DEFAULT_TENSORS in ends else ends
    behind = set(begins)
    for node in graph.node:
        if behind.intersection(node.input):
            behind.update(node.output)
    before = set(finishes)
    for node in reversed(graph.node):
        # What a start tensor itself is made of lies outside.
        if before.intersection(node.output) and not set(begins).intersection(node.output):
            before.update(node.input)
    return (behind & before) - set(begins)
