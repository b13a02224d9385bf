"""Where the channels of a tensor lie: which element belongs to which, through reshaping, transposing and sampling.

A layout gives, for every axis, its factors from slowest to fastest, each with its size and the step that it makes
through the channels; 0: it makes none, the factor counts positions, batches or heads' members alike. So (1, 4096, 128)
with the channels last is ``(((1, 0),), ((4096, 0),), ((128, 1),))``, and reshaped and transposed into four heads,
(4, 32, 64, 64), it is ``(((4, 32),), ((32, 1),), ((64, 0),), ((64, 0),))``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from bevformer_lib.export.graph import StaticShape, attributes

Axis: TypeAlias = tuple[tuple[int, int], ...]
Layout: TypeAlias = tuple[Axis, ...]

ELEMENTWISE: Final = frozenset({"Relu", "LeakyRelu", "Neg", "Identity", "Dropout"})
RESHAPING: Final = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten"})
SPATIAL: Final = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "GridSample"})
"""Operators that compute within a channel, over the axes behind the second."""
WITHIN_AXES: Final = frozenset({"Slice", "Pad", "Split", "Gather", "ReduceSum", "ReduceMean", "Tile", "Expand"})
"""Operators that move or add up values along some axes and leave the others as they are."""


def layout_of(shape: Sequence[int], axis: int) -> Layout:
    """Return the layout of a tensor whose channels are one axis."""
    place = axis % len(shape)
    return tuple(_axis(((size, 1 if at == place else 0),)) for at, size in enumerate(shape))


def free(axis: Axis) -> bool:
    """Tell whether an axis belongs to no channel."""
    return all(step == 0 for _, step in axis)


def channels_of(axis: Axis) -> NDArray[np.int64]:
    """Return the channel of every position of an axis, as far as the axis decides it."""
    places = np.zeros(1, np.int64)
    for size, step in axis:
        places = (places[:, np.newaxis] + np.arange(size) * step).ravel()
    return places


def channel_map(layout: Layout) -> NDArray[np.int64]:
    """Return the channel of every element of a tensor, with size 1 where an axis belongs to none."""
    axes = [np.zeros(1, np.int64) if free(axis) else channels_of(axis) for axis in layout]
    total = np.zeros([1] * len(axes), np.int64)
    for place, channels in enumerate(axes):
        total = total + channels.reshape([-1 if at == place else 1 for at in range(len(axes))])
    return total


def only_axis(layout: Layout, place: int) -> bool:
    """Tell whether all channels lie in one axis."""
    return all(free(axis) for at, axis in enumerate(layout) if at != place % len(layout))


def reshaped(layout: Layout, shape: Sequence[int]) -> Layout | None:
    """Return the layout of the same elements in another shape; ``None``: an axis would hold half a factor."""
    factors = [factor for axis in layout for factor in axis if factor[0] != 1]
    axes = []
    for wanted in shape:
        taken: list[tuple[int, int]] = []
        left = wanted
        while left > 1:
            if not factors:
                return None
            size, step = factors.pop(0)
            if left % size == 0:
                taken.append((size, step))
                left //= size
            elif size % left == 0:
                taken.append((left, step * (size // left)))
                factors.insert(0, (size // left, step))
                left = 1
            else:
                return None
        axes.append(_axis(taken))
    return tuple(axes)


def aligned(layout: Layout, shape: Sequence[int]) -> Layout | None:
    """Return the layout of an operand that is spread over a tensor of this layout; ``None``: it has fewer channels."""
    missing = len(layout) - len(shape)
    if missing < 0 or not all(free(axis) for axis in layout[:missing]):
        return None
    axes = []
    for axis, size in zip(layout[missing:], shape, strict=True):
        if size != _size(axis) and not free(axis):
            return None
        axes.append(axis if size == _size(axis) else _axis(((size, 0),)))
    return tuple(axes)


def moved(
    node: onnx.NodeProto,
    layout: Layout,
    shape: StaticShape,
    constants: Mapping[str, NDArray[np.int64]],
    *,
    backward: bool = False,
) -> Layout | None:
    """Return the layout behind an operator that keeps channels apart; ``None``: it does not, or it is not known to.

    Args:
        node: the operator.
        layout: of its data; of its output where ``backward``.
        shape: of its output; of its data where ``backward``.
        constants: values of small integer tensors, for the axes.
        backward: whether to go from the output to the data.
    """
    if node.op_type in ELEMENTWISE:
        return layout
    if node.op_type in RESHAPING:
        return reshaped(layout, shape)
    if node.op_type == "Transpose":
        order = attributes(node).get("perm", list(range(len(layout)))[::-1])
        return tuple(layout[place] for place in (np.argsort(order) if backward else order))
    if node.op_type in SPATIAL:
        return with_free_axes(layout, shape, range(2, len(shape)))
    if node.op_type not in WITHIN_AXES:
        return None
    if node.op_type in ("Slice", "Pad", "Tile", "Expand"):
        stepped = (
            node.op_type == "Slice" and len(node.input) > 4 and (constants.get(node.input[4], np.zeros(1)) != 1).any()
        )
        if stepped or len(layout) != len(shape):
            return None
        return with_free_axes(layout, shape, [at for at, axis in enumerate(layout) if _size(axis) != shape[at]])
    axes = attributes(node).get("axes")
    if node.op_type in ("Split", "Gather"):
        axes = [attributes(node).get("axis", 0)]
    elif len(node.input) > 1:
        axes = constants[node.input[1]].tolist() if node.input[1] in constants else None
    if axes is None:
        return None
    rank = len(shape) if backward else len(layout)
    places = [axis % rank for axis in axes]
    if len(layout) == len(shape):
        return with_free_axes(layout, shape, places)
    if backward:  # of a reduction that left its axes out
        kept = iter(layout)
        return tuple(_axis(((shape[at], 0),)) if at in places else next(kept) for at in range(rank))
    if not node.op_type.startswith("Reduce") or not all(free(layout[at]) for at in places):
        return None
    return tuple(axis for at, axis in enumerate(layout) if at not in places)


def with_free_axes(layout: Layout, shape: Sequence[int], axes: Collection[int]) -> Layout | None:
    """Return a layout with some axes of another size; ``None``: they belong to channels."""
    if len(layout) != len(shape) or not all(free(layout[place]) for place in axes):
        return None
    return tuple(_axis(((shape[place], 0),)) if place in axes else axis for place, axis in enumerate(layout))


def number_of_values(layout: Layout) -> int:
    """Return how many elements a tensor has."""
    return math.prod(_size(axis) for axis in layout)


def _axis(factors: Sequence[tuple[int, int]]) -> Axis:
    """Return an axis with factors that go on from one another merged, so that equal layouts are equal."""
    merged: list[tuple[int, int]] = []
    for size, step in factors:
        if size == 1:
            continue
        if merged and merged[-1][1] == step * size:
            merged[-1] = (merged[-1][0] * size, step)
        else:
            merged.append((size, step))
    return tuple(merged)


def _size(axis: Axis) -> int:
    return math.prod(size for size, _ in axis)
