"""Nearest-neighbour upscaling gets the one rounding that the NPU's converter accepts, where that changes no pixel.

PyTorch's nearest interpolation is written with coordinates x / scale, rounded down; the converter knows only
``round_prefer_ceil``, which rounds to the nearest pixel.

before::

    y = Resize(x, sizes=[6, 256, 58, 100], mode="nearest",                      # x: (6, 256, 29, 50)
               coordinate_transformation_mode="asymmetric", nearest_mode="floor")

after::

    y = Resize(x, sizes=[6, 256, 58, 100], mode="nearest",
               coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_ceil")

For a whole factor k both give pixel floor(x / k): (x + 0.5) / k - 0.5, rounded to the nearest, is
floor((x + 0.5) / k), and since x is whole, the half changes no floor. These positions stay 0.5 / k away from where the
rounding turns, so float32 arithmetic can't take the other side. What the node picked before is computed pixel by pixel
along every axis; where that is another pixel, or the factor is not whole, the place is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Final

import onnx
from numpy.typing import NDArray

from bevformer_lib.export.graph import (
    MAX_SHAPE_ELEMENTS,
    STANDARD_DOMAINS,
    StaticShape,
    attributes,
    constant_values,
    node_label,
    static_shapes,
    without_large_weights,
)
from bevformer_lib.export.passes.base import PassResult, Refusal

ROUNDING: Final = "round_prefer_ceil"

_SCALES: Final = 2
"""Position of the input; the sizes that may stand in its place show in the shape of the output."""
_HALF: Final = Fraction(1, 2)

_COORDINATES: Final[Mapping[str, Callable[[int, int], Fraction]]] = {
    "half_pixel": lambda x, factor: (x + _HALF) / factor - _HALF,
    "pytorch_half_pixel": lambda x, factor: (x + _HALF) / factor - _HALF,
    "asymmetric": lambda x, factor: Fraction(x, factor),
}
"""Mode -> position, in the axis before, of pixel ``x`` of the axis that is ``factor`` times as long (ONNX standard,
Resize). ``pytorch_half_pixel`` differs only where one pixel results, and then the factor is 1 and the pixel 0."""

_ROUNDINGS: Final[Mapping[str, Callable[[Fraction], int]]] = {
    "round_prefer_floor": lambda position: math.ceil(position - _HALF),
    "round_prefer_ceil": lambda position: math.floor(position + _HALF),
    "floor": math.floor,
    "ceil": math.ceil,
}


def apply(model: onnx.ModelProto) -> PassResult:
    """Set the accepted rounding on every nearest-neighbour ``Resize`` that picks the same pixels with it.

    Returns:
        The rewritten graph, the number of nodes changed, and why others were not.
    """
    candidates = [index for index, node in enumerate(model.graph.node) if _is_candidate(node)]
    if not candidates:
        return PassResult(model, 0)
    shapes = static_shapes(without_large_weights(model))
    values = constant_values(model.graph, max_elements=MAX_SHAPE_ELEMENTS)
    reasons = {index: why_not(model.graph.node[index], shapes, values) for index in candidates}
    refusals = tuple(
        Refusal(node_label(model.graph.node[index]), model.graph.node[index].op_type, reason)
        for index, reason in reasons.items()
        if reason is not None
    )
    if len(refusals) == len(candidates):
        return PassResult(model, 0, refusals)
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    for index, reason in reasons.items():
        if reason is None:
            _set_modes(rewritten.graph.node[index])
    return PassResult(rewritten, len(candidates) - len(refusals), refusals)


def _is_candidate(node: onnx.NodeProto) -> bool:
    if node.op_type != "Resize" or node.domain not in STANDARD_DOMAINS:
        return False
    given = attributes(node)
    rounding: str = given.get("nearest_mode", "round_prefer_floor")
    return rounding != ROUNDING and given.get("mode", "nearest") == "nearest"


def why_not(node: onnx.NodeProto, shapes: Mapping[str, StaticShape], values: Mapping[str, NDArray[Any]]) -> str | None:
    """Return why the accepted rounding may pick other pixels than the node does, or ``None`` where it does not."""
    given = attributes(node)
    coordinates = given.get("coordinate_transformation_mode", "half_pixel")
    rounding = given.get("nearest_mode", "round_prefer_floor")
    if coordinates not in _COORDINATES:
        return f"coordinate_transformation_mode {coordinates!r} is not handled"
    if rounding not in _ROUNDINGS:
        return f"nearest_mode {rounding!r} is not handled"
    shape, wanted = shapes.get(node.input[0]), shapes.get(node.output[0])
    if shape is None or wanted is None:
        return "its shapes are not fixed"
    scales = values.get(node.input[_SCALES]) if len(node.input) > _SCALES else None
    if scales is not None and scales.size not in (0, len(shape)):
        return "its scales name only some of the axes"
    for axis, (before, after) in enumerate(zip(shape, wanted, strict=True)):
        if before == 0 or after % before:
            return f"{before} -> {after} along axis {axis} is no whole factor"
        factor = after // before
        if scales is not None and scales.size and scales[axis] != factor:
            # Positions follow the scale itself; a size is only its rounded-down product.
            return f"scale {scales[axis]} along axis {axis} is no whole factor"
        for x in range(after):
            picked = min(max(_ROUNDINGS[rounding](_COORDINATES[coordinates](x, factor)), 0), before - 1)
            if picked != x // factor:
                change = f"would put pixel {x // factor} at {x}, not {picked}"
                return f"with {ROUNDING}, {before} -> {after} along axis {axis} {change}"
    return None


def _set_modes(node: onnx.NodeProto) -> None:
    modes = {"coordinate_transformation_mode": "half_pixel", "nearest_mode": ROUNDING}
    kept = [entry for entry in node.attribute if entry.name not in modes]
    written = [*kept, *(onnx.helper.make_attribute(name, value) for name, value in modes.items())]
    del node.attribute[:]
    node.attribute.extend(written)
