"""Multiply-accumulate operations (MACs) of a node, from its shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import onnx

from bevformer_lib.export.graph import STANDARD_DOMAINS, StaticShape, attributes

_NEIGHBOURS: Final[Mapping[str, int]] = {
    "bilinear": 4,
    "linear": 4,
    "nearest": 1,
    "bicubic": 16,
    "cubic": 16,
}
"""GridSample's mode on pictures -> pixels that every sample is weighed from; both spellings of ONNX."""

Shapes = Mapping[str, StaticShape]


def count_macs(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Return the multiply-accumulate operations of a node; 0 for an operator that none are defined for.

    Convolutions, matrix products and sampling are counted; element-wise arithmetic, reductions and normalisations are
    not, as everywhere in the field. A bias adds nothing.

    Args:
        node: of a graph whose shapes are all fixed.
        shapes: tensor name -> shape.
    """
    counter = _COUNTERS.get(node.op_type) if node.domain in STANDARD_DOMAINS else None
    return 0 if counter is None else counter(node, shapes)


def _conv(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every output element: input channels of its group times kernel elements (weight: out, in / groups, kernel)."""
    return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])


def _conv_transpose(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every input element: output channels of its group times kernel elements (weight: in, out / groups, kernel)."""
    return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])


def _matmul(node: onnx.NodeProto, shapes: Shapes) -> int:
    return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _gemm(node: onnx.NodeProto, shapes: Shapes) -> int:
    first = shapes[node.input[0]]
    return math.prod(shapes[node.output[0]]) * first[0 if attributes(node).get("transA", 0) else 1]


def _grid_sample(node: onnx.NodeProto, shapes: Shapes) -> int:
    return math.prod(shapes[node.output[0]]) * _NEIGHBOURS[attributes(node).get("mode", "bilinear")]


_COUNTERS: Final[Mapping[str, Callable[[onnx.NodeProto, Shapes], int]]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "GridSample": _grid_sample,
    "MatMul": _matmul,
}
