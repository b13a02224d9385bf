"""Padding that is only named becomes numbers: the NPU's converter takes no ``auto_pad``.

before::

    y = Conv(x, w, strides=[2, 2], auto_pad="SAME_UPPER")        # x: (1, 3, 96, 160), w: (8, 3, 3, 3)

after::

    y = Conv(x, w, strides=[2, 2], pads=[0, 0, 1, 1])

The same is done for ``MaxPool`` and ``AveragePool``. Formulas: ONNX standard, Conv (``SAME`` gives
ceil(input / stride) pixels; the odd one goes to the end with ``SAME_UPPER``, to the beginning with ``SAME_LOWER``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import onnx

from bevformer_lib.export.graph import (
    STANDARD_DOMAINS,
    StaticShape,
    attributes,
    node_label,
    static_shapes,
    without_large_weights,
)
from bevformer_lib.export.passes.base import PassResult, Refusal

_OPERATORS: Final = frozenset({"Conv", "MaxPool", "AveragePool"})
_AUTOMATIC: Final = ("SAME_UPPER", "SAME_LOWER", "VALID")


def apply(model: onnx.ModelProto) -> PassResult:
    """Write out every automatic padding of an input of known size.

    Returns:
        The rewritten graph, the number of nodes changed, and why others were not.
    """
    candidates = [index for index, node in enumerate(model.graph.node) if _is_candidate(node)]
    if not candidates:
        return PassResult(model, 0)
    shapes = static_shapes(without_large_weights(model))
    refusals: list[Refusal] = []
    pads: dict[int, list[int]] = {}
    for index in candidates:
        node = model.graph.node[index]
        try:
            pads[index] = _pads(node, shapes)
        except ValueError as reason:
            refusals.append(Refusal(node_label(node), node.op_type, str(reason)))
    if not pads:
        return PassResult(model, 0, tuple(refusals))
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    for index, numbers in pads.items():
        node = rewritten.graph.node[index]
        kept = [entry for entry in node.attribute if entry.name not in ("auto_pad", "pads")]
        written = [*kept, onnx.helper.make_attribute("pads", numbers)]
        del node.attribute[:]
        node.attribute.extend(written)
    return PassResult(rewritten, len(pads), tuple(refusals))


def _is_candidate(node: onnx.NodeProto) -> bool:
    return (
        node.op_type in _OPERATORS
        and node.domain in STANDARD_DOMAINS
        and attributes(node).get("auto_pad", "NOTSET") in _AUTOMATIC
    )


def _pads(node: onnx.NodeProto, shapes: Mapping[str, StaticShape]) -> list[int]:
    """Return the padding at the beginning of every axis, then at the end of every axis."""
    given = attributes(node)
    shape = shapes.get(node.input[0])
    if shape is None:
        raise ValueError(f"the shape of {node.input[0]!r} is not fixed")
    sizes = shape[2:]
    if given["auto_pad"] == "VALID":
        return [0] * (2 * len(sizes))
    if given.get("ceil_mode", 0):
        raise ValueError("ceil_mode asks for another size than its padding does")
    kernel = _kernel(node, given, shapes)
    strides = given.get("strides", [1] * len(sizes))
    dilations = given.get("dilations", [1] * len(sizes))
    totals = [
        max((-(-size // stride) - 1) * stride + (extent - 1) * dilation + 1 - size, 0)
        for size, extent, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return [*smaller, *larger] if given["auto_pad"] == "SAME_UPPER" else [*larger, *smaller]


def _kernel(node: onnx.NodeProto, given: Mapping[str, Any], shapes: Mapping[str, StaticShape]) -> list[int]:
    if "kernel_shape" in given:
        return list(given["kernel_shape"])
    weight = shapes.get(node.input[1])
    if weight is None:
        raise ValueError(f"the shape of its weight {node.input[1]!r} is not fixed")
    return list(weight[2:])
