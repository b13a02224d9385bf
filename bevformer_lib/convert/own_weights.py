"""A weight of its own for every layer that is quantised.

    w -+-> Conv        w   -> Conv
       +-> Conv   =>   w.1 -> Conv

BEVFormer's value projection is a Conv that runs once per feature level, with one weight. ONNX Runtime gives each of
these a DequantizeLinear of its own. Where it makes int8 weights unsigned (``session.x64quantprecision``, which
processors without VNNI need for right results) it does so once per DequantizeLinear, under the same name, and then
refuses to load the graph. Seen with 1.19 and 1.32.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx

_WEIGHT_INPUT = 1


def give_own_weights(graph: onnx.GraphProto, layers: Collection[str]) -> None:
    """Copy the weights that several layers read, in place.

    Args:
        graph: the float graph.
        layers: names of the Conv, Gemm and MatMul nodes to quantise, whose weights are constants.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    names = {*weights, *(name for node in graph.node for name in (*node.input, *node.output))}
    taken: set[str] = set()
    for node in graph.node:
        if node.name not in layers:
            continue
        weight = node.input[_WEIGHT_INPUT]
        if weight in taken:
            number = 1
            while f"{weight}.{number}" in names:
                number += 1
            copy = graph.initializer.add()
            copy.CopyFrom(weights[weight])
            copy.name = node.input[_WEIGHT_INPUT] = f"{weight}.{number}"
            names.add(copy.name)
        taken.add(weight)
