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
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

import onnx
from numpy.typing import NDArray

from bevformer_lib.export.graph import MAX_SHAPE_ELEMENTS, StaticShape, attributes, constant_values
from bevformer_lib.export.passes.base import Editor, PassResult, replace_nodes, set_attributes

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
    """Set the accepted rounding on every nearest-neighbour ``Resize`` that picks the same pixels with it."""
    return replace_nodes(model, _is_candidate, _with_accepted_rounding)


def _is_candidate(node: onnx.NodeProto) -> bool:
    if node.op_type != "Resize":
        return False
    given = attributes(node)
    rounding: str = given.get("nearest_mode", "round_prefer_floor")
    return rounding != ROUNDING and given.get("mode", "nearest") == "nearest"


def _with_accepted_rounding(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto]:
    reason = _why_not(node, editor.shapes, constant_values(editor.model.graph, max_elements=MAX_SHAPE_ELEMENTS))
    if reason is not None:
        raise ValueError(reason)
    set_attributes(node, coordinate_transformation_mode="half_pixel", nearest_mode=ROUNDING)
    return [node]


def _why_not(node: onnx.NodeProto, shapes: Mapping[str, StaticShape], values: Mapping[str, NDArray[Any]]) -> str | None:
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
