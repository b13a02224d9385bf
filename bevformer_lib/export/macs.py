"""Multiply-accumulate operations (MACs) of a node, from its shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import onnx

from bevformer_lib.errors import ExportError
from bevformer_lib.export.graph import STANDARD_DOMAINS, StaticShape, attributes, node_label, static_shapes

_NEIGHBOURS_PER_AXIS: Final[Mapping[str, int]] = {
    "bilinear": 2,
    "linear": 2,
    "nearest": 1,
    "bicubic": 4,
    "cubic": 4,
}
"""GridSample's mode -> pixels per axis that every sample is weighed from; both spellings of ONNX."""

_MULTIPLYING: Final = frozenset(
    {"AffineGrid", "Attention", "CausalConvWithState", "DFT", "Det", "LinearAttention", "RoiAlign", "STFT"}
    | {"If", "Loop", "Scan", "SequenceMap"}
)
"""Standard operators without a counter that do more than element-wise arithmetic; the latter may in their bodies."""

_ELLIPSIS: Final = "..."

_DOMAINS_OF_GRID_SAMPLE: Final = STANDARD_DOMAINS | {"com.microsoft"}

Shapes = Mapping[str, StaticShape]
_Counter = Callable[[onnx.NodeProto, Shapes], int]


def count_macs(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Return the multiply-accumulate operations of a node; 0 for an operator that none are defined for.

    Convolutions, matrix products, recurrent layers and sampling are counted; element-wise arithmetic, reductions and
    normalisations are not, as everywhere in the field. A bias adds nothing.

    Args:
        node: of a valid graph whose shapes are all fixed.
        shapes: tensor name -> shape.

    Raises:
        ExportError: the node samples in a mode that does not exist.
    """
    counter = _counter(node)
    return 0 if counter is None else counter(node, shapes)


def node_macs(model: onnx.ModelProto) -> dict[str, int]:
    """Return the multiply-accumulate operations of one frame for every node that has any, by node name.

    Raises:
        ExportError: the shape of a tensor that decides them can't be inferred.
    """
    shapes = static_shapes(model)
    try:
        counted = {node.name: count_macs(node, shapes) for node in model.graph.node}
    except KeyError as error:
        raise ExportError(
            f"the shape of '{error.args[0]}' can't be inferred; export the model with static shapes"
        ) from None
    return {name: macs for name, macs in counted.items() if macs}


def is_left_out(node: onnx.NodeProto) -> bool:
    """Whether a node multiplies, or may for all that is known of its operator, and is not counted all the same."""
    if _counter(node) is not None:
        return False
    if node.op_type in ("Resize", "Upsample"):
        mode: str = attributes(node).get("mode", "nearest")
        return mode != "nearest"
    unknown = node.domain not in STANDARD_DOMAINS or not onnx.defs.has(node.op_type)
    return unknown or node.op_type in _MULTIPLYING


def _counter(node: onnx.NodeProto) -> _Counter | None:
    domains = _DOMAINS_OF_GRID_SAMPLE if node.op_type == "GridSample" else STANDARD_DOMAINS
    return _COUNTERS.get(node.op_type) if node.domain in domains else None


def _conv(node: onnx.NodeProto, shapes: Shapes, weight: int = 1) -> int:
    """Every output element: input channels of its group times kernel elements (weight: out, in / groups, kernel)."""
    return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[weight]][1:])


def _conv_transpose(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every input element: output channels of its group times kernel elements (weight: in, out / groups, kernel)."""
    return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])


def _deform_conv(node: onnx.NodeProto, shapes: Shapes) -> int:
    """The convolution, and a bilinear sample of every input channel for every kernel element of every position."""
    batch, channels, *axes = shapes[node.input[0]]
    samples = batch * channels * math.prod(shapes[node.output[0]][2:]) * math.prod(shapes[node.input[1]][2:])
    return _conv(node, shapes) + samples * math.prod(_NEIGHBOURS_PER_AXIS["bilinear"] for _ in axes)


def _matmul(node: onnx.NodeProto, shapes: Shapes) -> int:
    return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _gemm(node: onnx.NodeProto, shapes: Shapes) -> int:
    first = shapes[node.input[0]]
    return math.prod(shapes[node.output[0]]) * first[0 if attributes(node).get("transA", 0) else 1]


def _recurrent(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every step of every sequence: the weights of the input and of the state, of all gates and directions."""
    steps = math.prod(shapes[node.input[0]][:2])
    return steps * sum(math.prod(shapes[name]) for name in node.input[1:3])


def _grid_sample(node: onnx.NodeProto, shapes: Shapes) -> int:
    mode = attributes(node).get("mode", "bilinear")
    if mode not in _NEIGHBOURS_PER_AXIS:
        raise ExportError(f"GridSample {node_label(node)!r}: the standard has no mode {mode!r}")
    output = shapes[node.output[0]]
    return math.prod(output) * math.prod(_NEIGHBOURS_PER_AXIS[mode] for _ in output[2:])


def _einsum(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Two operands at a time from the left: the sizes of all labels of the two; what no later one needs is summed."""
    terms, arrow, result = attributes(node)["equation"].replace(" ", "").partition("->")
    operands = [_labels(term, len(shapes[name])) for term, name in zip(terms.split(","), node.input, strict=True)]
    every = [label for operand in operands for label in operand]
    if not arrow:
        result = _ELLIPSIS + "".join(label for label in every if every.count(label) == 1)
    wanted = {label for label in every if (_ELLIPSIS if label.startswith(_ELLIPSIS) else label) in result}
    sizes: dict[str, int] = {}
    for operand, name in zip(operands, node.input, strict=True):
        for label, size in zip(operand, shapes[name], strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    macs, done = 0, set(operands[0])
    for position, operand in enumerate(operands[1:], start=1):
        together = done.union(operand)
        macs += math.prod(sizes[label] for label in together)
        done = together & wanted.union(*operands[position + 1 :])
    return macs


def _labels(term: str, rank: int) -> list[str]:
    """Return a label per axis; those of an ellipsis are numbered from the right, as they broadcast."""
    before, _, after = term.partition(_ELLIPSIS)
    hidden = rank - len(before) - len(after)
    return [*before, *(f"{_ELLIPSIS}{axis}" for axis in reversed(range(hidden))), *after]


_COUNTERS: Final[Mapping[str, _Counter]] = {
    "Conv": _conv,
    "ConvInteger": _conv,
    "ConvTranspose": _conv_transpose,
    "DeformConv": _deform_conv,
    "Einsum": _einsum,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "GridSample": _grid_sample,
    "LSTM": _recurrent,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearConv": lambda node, shapes: _conv(node, shapes, weight=3),
    "QLinearMatMul": _matmul,
    "RNN": _recurrent,
}
