"""Padding that is only named becomes numbers: the NPU's converter takes no ``auto_pad``.

before::

    y = Conv(x, w, strides=[2, 2], auto_pad="SAME_UPPER")        # x: (1, 3, 96, 160), w: (8, 3, 3, 3)

after::

    y = Conv(x, w, strides=[2, 2], pads=[0, 0, 1, 1])

The same is done for ``MaxPool`` and ``AveragePool``. Formulas: ONNX standard, Conv (``SAME`` gives
ceil(input / stride) pixels; the odd one goes to the end with ``SAME_UPPER``, to the beginning with ``SAME_LOWER``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx

from bevformer_lib.export.graph import attributes
from bevformer_lib.export.passes.base import Editor, PassResult, replace_nodes, set_attributes

_OPERATORS: Final = frozenset({"Conv", "MaxPool", "AveragePool"})
_AUTOMATIC: Final = ("SAME_UPPER", "SAME_LOWER", "VALID")


def apply(model: onnx.ModelProto) -> PassResult:
    """Write out every automatic padding of an input of known size."""
    return replace_nodes(model, _is_candidate, _padded)


def _is_candidate(node: onnx.NodeProto) -> bool:
    return node.op_type in _OPERATORS and attributes(node).get("auto_pad", "NOTSET") in _AUTOMATIC


def _padded(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto]:
    set_attributes(node, "auto_pad", pads=_pads(node, editor))
    return [node]


def _pads(node: onnx.NodeProto, editor: Editor) -> list[int]:
    """Return the padding at the beginning of every axis, then at the end of every axis."""
    given = attributes(node)
    sizes = editor.shape(node.input[0])[2:]
    if given["auto_pad"] == "VALID":
        return [0] * (2 * len(sizes))
    if given.get("ceil_mode", 0):
        raise ValueError("ceil_mode asks for another size than its padding does")
    kernel = given.get("kernel_shape") or editor.shape(node.input[1])[2:]
    strides = given.get("strides", [1] * len(sizes))
    dilations = given.get("dilations", [1] * len(sizes))
    totals = [
        max((-(-size // stride) - 1) * stride + (extent - 1) * dilation + 1 - size, 0)
        for size, extent, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return [*smaller, *larger] if given["auto_pad"] == "SAME_UPPER" else [*larger, *smaller]
