"""Operators that the converter computes as one, so that what lies between them is never rounded.

Conv, ConvTranspose, Gemm, MatMul with constant weights  [ -> Add of a bias ]  [ -> Relu ]
MatMul of two live tensors, Add, Mul                                           [ -> Relu ]
Cast of a uint8 input [ -> Sub of constants ] [ -> Div by constants ]    (the tool's input processors do that)
Sigmoid -> Mul with its own input (Silu)                 only on request

Silu was fused in one measured model and rounded inside in others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from bevformer_lib.emulator.operators import WEIGHTED

_TAKES_RELU = WEIGHTED | {"Add", "Mul"}


@dataclass(frozen=True)
class Layer:
    """One or more nodes that round their output once.

    Attributes:
        main: the node that gives the layer its name and type.
        bias: the absorbed Add of a bias, if any.
        bias_constants: names of constants that stay in float, at accumulator precision.
    """

    main: onnx.NodeProto
    nodes: tuple[onnx.NodeProto, ...]
    bias: onnx.NodeProto | None = None
    bias_constants: frozenset[str] = frozenset()

    @property
    def outputs(self) -> list[str]:
        """Names of the tensors that leave the layer."""
        return [name for name in self.nodes[-1].output if name]


def fuse(graph: onnx.GraphProto, constants: Mapping[str, NDArray[np.float32]], *, patterns: bool) -> list[Layer]:
    """Return the layers of a graph in the order of their last nodes.

    Args:
        graph: the prepared graph.
        constants: its float constants by name.
        patterns: whether Silu made of Sigmoid and Mul is one layer.
    """
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(value.name for value in graph.output)
    only_reader = {name: node for node in graph.node for name in node.input if readers[name] == 1}
    pixels = pixel_inputs(graph)
    taken: set[str] = set()
    layers = []
    for node in graph.node:
        if node.output[0] in taken:
            continue
        layer = _from(node, constants, only_reader)
        if patterns and node.op_type == "Sigmoid":
            layer = _silu(node, only_reader) or layer
        if node.op_type == "Cast" and node.input[0] in pixels:
            layer = _normalization(node, constants, only_reader)
        taken.update(name for member in layer.nodes for name in member.output)
        layers.append(layer)
    order = {node.output[0]: place for place, node in enumerate(graph.node)}
    return sorted(layers, key=lambda layer: order[layer.nodes[-1].output[0]])


def pixel_inputs(graph: onnx.GraphProto) -> set[str]:
    """Return the names of a graph's uint8 inputs."""
    return {value.name for value in graph.input if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8}


def _from(
    main: onnx.NodeProto, constants: Mapping[str, NDArray[np.float32]], only_reader: Mapping[str, onnx.NodeProto]
) -> Layer:
    nodes, bias = [main], None
    kept: set[str] = set()
    if main.op_type in WEIGHTED:
        learnt = any(name in constants for name in main.input[:2])
        if main.op_type != "MatMul" and learnt:
            kept.update(name for name in main.input[2:3] if name in constants)
        after = only_reader.get(main.output[0])
        channels = _channels(main, constants)
        if learnt and channels and after is not None and after.op_type == "Add":
            other = next(name for name in after.input if name != main.output[0])
            if other in constants and _is_bias(constants[other].shape, channels, main.op_type):
                bias = after
                nodes.append(after)
                kept.add(other)
    if main.op_type in _TAKES_RELU:
        after = only_reader.get(nodes[-1].output[0])
        if after is not None and after.op_type == "Relu":
            nodes.append(after)
    return Layer(main, tuple(nodes), bias, frozenset(kept))


def _channels(main: onnx.NodeProto, constants: Mapping[str, NDArray[np.float32]]) -> int:
    """Return the number of output channels of constant weights in their usual place; 0: elsewhere."""
    weight = constants.get(main.input[1])
    if weight is None or weight.ndim < 2:
        return 0
    if main.op_type == "Conv" or (main.op_type == "Gemm" and any(a.name == "transB" and a.i for a in main.attribute)):
        return int(weight.shape[0])
    return int(weight.shape[1] if main.op_type == "ConvTranspose" else weight.shape[-1])


def _is_bias(shape: Collection[int], channels: int, op_type: str) -> bool:
    sizes = list(shape)
    if op_type in ("MatMul", "Gemm"):
        return sizes == [channels]
    return sizes in ([1, channels, 1, 1], [channels, 1, 1])


def _normalization(
    cast: onnx.NodeProto, constants: Mapping[str, NDArray[np.float32]], only_reader: Mapping[str, onnx.NodeProto]
) -> Layer:
    nodes = [cast]
    for operator in ("Sub", "Div"):
        after = only_reader.get(nodes[-1].output[0])
        if after is not None and after.op_type == operator and after.input[1] in constants:
            nodes.append(after)
    return Layer(nodes[-1], tuple(nodes), bias_constants=frozenset(node.input[1] for node in nodes[1:]))


def _silu(sigmoid: onnx.NodeProto, only_reader: Mapping[str, onnx.NodeProto]) -> Layer | None:
    product = only_reader.get(sigmoid.output[0])
    if product is None or product.op_type != "Mul" or sigmoid.input[0] not in product.input:
        return None
    return Layer(product, (sigmoid, product))
