"""What the quantiser knows of operators: which compute, which only move values, and which of their inputs are data."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import onnx

WEIGHTED: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators with weights; with two live tensors instead they read both as signed numbers."""
MOVEMENT: Final = frozenset(
    {
        *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Pad"),
        *("Gather", "MaxPool", "Relu", "Expand", "Tile"),
    }
)
"""Operators whose output has the scale of their first input. Unsqueeze, Flatten, Split, Expand and Tile by analogy."""
JOINING: Final = frozenset({"Concat", "Where"})
"""Operators that only choose among the values of several inputs; rounded over their own range, which is assumed."""
MAY_BE_UNDEFINED: Final = frozenset({"Div", "Log", "Sqrt", "Pow", "Reciprocal"})
"""Operators that make NaN of numbers; the NPU has none and saturates."""
_NO_DATA_AFTER: Final[Mapping[str, int]] = MappingProxyType(
    {
        **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze", "Slice", "Split", "Pad", "Expand", "Tile", "Gather"), 1),
        **dict.fromkeys(
            ("Clip", "Resize", "TopK", "LayerNormalization", "InstanceNormalization", "GroupNormalization"), 1
        ),
        **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "BatchNormalization"), 1),
    }
)
"""Operator -> inputs that are tensors to be rounded; what follows are shapes, bounds and scales kept in float."""


def data_slots(node: onnx.NodeProto) -> range:
    """Return the places of a node's inputs that may be rounded."""
    return range(min(len(node.input), _NO_DATA_AFTER.get(node.op_type, len(node.input))))


def weight_axis(node: onnx.NodeProto, slot: int, rank: int) -> int | None:
    """Return the axis of the output channels of a constant operand of a weighted operator; ``None``: it has none."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if rank < 2:
        return None
    if node.op_type == "Gemm":
        transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
        return 0 if transposed else rank - 1
    return rank - 1 if slot == 1 else rank - 2
