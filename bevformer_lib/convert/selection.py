"""Which nodes of a graph are quantised.

Learnt layers are: Conv, Gemm and MatMul with a constant weight. They hold nearly all weights and arithmetic. The
geometry is not: pillars projected by ``lidar2img``, ego motion from ``can_bus``, reference points and sampling
grids. Its values span metres, pixels and degrees in one tensor; 8 bits of 100 m are 40 cm, and of a projection
they are several pixels.

A projection is a MatMul with a constant too, so the two are told apart by where the data comes from. *Metric*
data is what has been computed from ``can_bus`` or ``lidar2img`` with no constant matrix in between; a Conv, Gemm or
MatMul that reads it (the projection, the first layer of the ``can_bus`` embedding) stays in float. The tag also ends
at a comparison, whose output is a mask, and at GridSample's grid, which only says where features are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import onnx

from bevformer_lib.names import INPUT_CAN_BUS, INPUT_LIDAR2IMG

LEARNT_OPS: Final = ("Conv", "Gemm", "MatMul")
ACTIVATION_OP: Final = "Relu"
METRIC_INPUTS: Final = (INPUT_CAN_BUS, INPUT_LIDAR2IMG)
_COMPARISONS: Final = frozenset({"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"})
_WEIGHT_INPUT: Final = 1


@dataclass(frozen=True)
class Selection:
    """The nodes to quantise and the tensors whose ranges that needs.

    Attributes:
        layers: names of the learnt layers.
        activations: names of the Relu nodes that are merged into the convolution before them.
        tensors: activations that become 8-bit numbers, in graph order.
        quantized_nodes: operator type -> learnt layers selected.
        float_nodes: operator type -> nodes of the same types left in float.
    """

    layers: tuple[str, ...]
    activations: tuple[str, ...]
    tensors: tuple[str, ...]
    quantized_nodes: Mapping[str, int]
    float_nodes: Mapping[str, int]


def select_nodes(graph: onnx.GraphProto, kept: Collection[str] = ()) -> Selection:
    """Choose the nodes to quantise; every node must have a name of its own.

    The input of every learnt layer becomes 8 bits. Of the outputs only those of convolutions do (after their Relu,
    where one follows): these are feature maps. The output of a Gemm or MatMul may be a sampling offset, an
    attention weight or a box, and stays in float until another learnt layer reads it.

    Args:
        graph: the float graph.
        kept: names of learnt layers to leave in float all the same.
    """
    layers = [node for node in _learnt_layers(graph) if node.name not in kept]
    consumers = Counter(name for node in graph.node for name in node.input)
    consumers.update(output.name for output in graph.output)
    relus = {node.input[0]: node for node in graph.node if node.op_type == ACTIVATION_OP}
    merged: list[onnx.NodeProto] = []
    tensors: dict[str, None] = {}
    for node in layers:
        tensors[node.input[0]] = None
        if node.op_type == "Conv":
            relu = relus.get(node.output[0])
            if relu is not None and consumers[node.output[0]] == 1:
                merged.append(relu)
                tensors[relu.output[0]] = None
            else:
                tensors[node.output[0]] = None
    quantized = Counter(node.op_type for node in layers)
    found = Counter(node.op_type for node in graph.node if node.op_type in LEARNT_OPS)
    return Selection(
        tuple(node.name for node in layers),
        tuple(node.name for node in merged),
        tuple(tensors),
        dict(sorted(quantized.items())),
        dict(sorted((found - quantized).items())),
    )


def _learnt_layers(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the learnt layers that read features, in graph order (which is topological)."""
    float_constants = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    metric = set(METRIC_INPUTS)
    layers = []
    for node in graph.node:
        reads_metric = any(name in metric for name in _value_inputs(node))
        learnt = node.op_type in LEARNT_OPS and node.input[_WEIGHT_INPUT] in float_constants
        if learnt and not reads_metric and node.input[0] not in float_constants:
            layers.append(node)
        if reads_metric and not learnt and node.op_type not in _COMPARISONS:
            metric.update(node.output)
    return layers


def _value_inputs(node: onnx.NodeProto) -> list[str]:
    """Return the inputs whose values reach the output; a sampling grid's do not."""
    return list(node.input[:1] if node.op_type == "GridSample" else node.input)
