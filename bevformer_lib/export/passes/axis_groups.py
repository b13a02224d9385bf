"""Which neighbouring axes an operator treats alike, so that they can be one."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import onnx

from bevformer_lib.export.graph import REDUCTIONS, StaticShape, attributes
from bevformer_lib.export.passes.base import Editor

MAX_AXES: Final = 5
"""Of a tensor that the chip takes."""

ELEMENT_WISE: Final = frozenset(
    {"Abs", "Add", "And", "Cast", "Ceil", "Clip", "Cos", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu"}
    | {"Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max"}
    | {"Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round"}
    | {"Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tanh", "Where", "Xor"}
)
"""Operators that work value by value, their operands spread over each other's axes."""
_ANY: Final = None
"""The kind of an axis that may join any group: it has one value, and nothing is done along it."""


@dataclass(frozen=True)
class Folded:
    """A node with folded axes.

    Attributes:
        inputs: shapes that its inputs are to have; ``None``: that input stays as it is.
        outputs: shapes that its outputs have then.
        attributes: that change.
        constants: position of an input -> the constant that takes its place.
    """

    inputs: Sequence[StaticShape | None]
    outputs: Sequence[StaticShape | None]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[int, str] = field(default_factory=dict)


Rule = Callable[[onnx.NodeProto, Sequence[StaticShape], Editor], Folded | None]
"""Folds a node of such input shapes; ``None``: only axes of size 1 move. ``ValueError``: why it can't be folded."""


def _groups(kinds: Sequence[Hashable]) -> list[list[int]]:
    """Return runs of axes of one kind; axes of kind ``_ANY`` join whatever comes before or, at the start, behind."""
    groups: list[list[int]] = [[]]
    current: Hashable = _ANY
    for axis, kind in enumerate(kinds):
        if kind is not _ANY and current is not _ANY and kind != current:
            groups.append([])
        groups[-1].append(axis)
        current = current if kind is _ANY else kind
    return groups


def _fold(shape: Sequence[int], groups: Sequence[Sequence[int]]) -> StaticShape:
    return tuple(math.prod(shape[axis] for axis in group) for group in groups)


def _group_of(axis: int, groups: Sequence[Sequence[int]]) -> int:
    return next(place for place, group in enumerate(groups) if axis in group)


def _broadcast(shapes: Sequence[StaticShape]) -> tuple[StaticShape, list[StaticShape], list[Hashable]]:
    """Return the common shape, the shapes with as many axes, and each axis's kind: which operands it is spread over."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    common = np.broadcast_shapes(*padded)
    kinds: list[Hashable] = [
        _ANY if common[axis] == 1 else tuple(shape[axis] != 1 for shape in padded) for axis in range(rank)
    ]
    return common, padded, kinds


def _element_wise(node: onnx.NodeProto, shapes: Sequence[StaticShape], editor: Editor) -> Folded:
    common, padded, kinds = _broadcast(shapes)
    groups = _groups(kinds)
    # A number without axes stays one.
    inputs = [_fold(wide, groups) if given else None for given, wide in zip(shapes, padded, strict=True)]
    return Folded(inputs, [_fold(common, groups)])


def _transpose(node: onnx.NodeProto, shapes: Sequence[StaticShape], editor: Editor) -> Folded | None:
    [shape] = shapes
    order = attributes(node).get("perm", list(reversed(range(len(shape)))))
    seen = [axis for axis in range(len(shape)) if shape[axis] != 1]
    moved = [axis for axis in order if shape[axis] != 1]
    runs: list[list[int]] = []
    for axis in moved:
        if runs and seen.index(axis) == seen.index(runs[-1][-1]) + 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    before = sorted(runs)
    if before == runs:
        return None
    perm = [before.index(run) for run in runs]
    return Folded([_fold(shape, before)], [_fold(shape, runs)], {"perm": perm})


def _reduction(node: onnx.NodeProto, shapes: Sequence[StaticShape], editor: Editor) -> Folded:
    shape, given = shapes[0], attributes(node)
    by_input = len(node.input) > 1 and bool(node.input[1])
    axes = _integers(editor, node.input[1]) if by_input else given.get("axes")
    if not axes:
        raise ValueError("it names no axes")
    axes = [axis % len(shape) for axis in axes]
    groups = _groups([axis in axes for axis in range(len(shape))])
    places = sorted({_group_of(axis, groups) for axis in axes})
    few = _fold(shape, groups)
    kept = given.get("keepdims", 1)
    output = tuple(1 if place in places else size for place, size in enumerate(few) if kept or place not in places)
    if by_input:
        constant = editor.constant(f"{node.output[0]}_axes", np.asarray(places, np.int64))
        return Folded([few, None], [output], constants={1: constant})
    return Folded([few], [output], {"axes": places})


def _slice(node: onnx.NodeProto, shapes: Sequence[StaticShape], editor: Editor) -> Folded:
    if len(node.input) < 3:
        raise ValueError("it is written as before operator set 10")
    shape = shapes[0]
    starts, ends = (_integers(editor, name) for name in node.input[1:3])
    if len(node.input) < 4 or not node.input[3]:
        raise ValueError("it names no axes")
    axes = [axis % len(shape) for axis in _integers(editor, node.input[3])]
    steps = _integers(editor, node.input[4]) if len(node.input) > 4 and node.input[4] else [1] * len(axes)
    cuts = {
        axis: len(range(*slice(start, _end(end, step), step).indices(shape[axis])))
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    }
    groups = _groups([axis if axis in cuts else (_ANY if size == 1 else "whole") for axis, size in enumerate(shape)])
    constant = editor.constant(
        f"{node.output[0]}_axes", np.asarray([_group_of(axis, groups) for axis in axes], np.int64)
    )
    inputs = [_fold(shape, groups), *([None] * (len(node.input) - 1))]
    output = [cuts.get(axis, size) for axis, size in enumerate(shape)]
    return Folded(inputs, [_fold(output, groups)], constants={3: constant})


def _end(end: int, step: int) -> int | None:
    """Return the end for Python, in which -1 less something means what "before the first" does in ONNX."""
    return None if step < 0 and end <= -(2**31) else end


def _along(axis: int, shape: StaticShape) -> StaticShape:
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def _axis(node: onnx.NodeProto, rank: int, default: int) -> int:
    return int(attributes(node).get("axis", default)) % rank


def _concat(node: onnx.NodeProto, shapes: Sequence[StaticShape], editor: Editor) -> Folded:
    axis = _axis(node, len(shapes[0]), 0)
    inputs = [_along(axis, shape) for shape in shapes]
    before, _, behind = inputs[0]
    return Folded(inputs, [(before, sum(sizes[1] for sizes in inputs), behind)], {"axis": 1})


def _split(node: onnx.NodeProto, shapes: Sequence[StaticShape], editor: Editor) -> Folded:
    axis = _axis(node, len(shapes[0]), 0)
    before, _, behind = _along(axis, shapes[0])
    outputs = [(before, editor.shape(name)[axis], behind) for name in node.output]
    return Folded([_along(axis, shapes[0]), *([None] * (len(shapes) - 1))], outputs, {"axis": 1})


def _softmax(node: onnx.NodeProto, shapes: Sequence[StaticShape], editor: Editor) -> Folded:
    if editor.opset < 13:
        raise ValueError("before operator set 13 it is of all axes behind one")
    few = _along(_axis(node, len(shapes[0]), -1), shapes[0])
    return Folded([few], [few], {"axis": 1})


def _gather(node: onnx.NodeProto, shapes: Sequence[StaticShape], editor: Editor) -> Folded:
    table, indices = shapes
    before, size, behind = _along(_axis(node, len(table), 0), table)
    few = (math.prod(indices),) if len(indices) > 1 and editor.is_constant(node.input[1]) else indices
    return Folded([(before, size, behind), few if indices else None], [(before, *few, behind)], {"axis": 1})


def _expand(node: onnx.NodeProto, shapes: Sequence[StaticShape], editor: Editor) -> Folded:
    common, padded, kinds = _broadcast([shapes[0], editor.shape(node.output[0])])
    groups = _groups(kinds)
    output = _fold(common, groups)
    constant = editor.constant(f"{node.output[0]}_sizes", np.asarray(output, np.int64))
    return Folded([_fold(padded[0], groups), None], [output], constants={1: constant})


def _matmul(node: onnx.NodeProto, shapes: Sequence[StaticShape], editor: Editor) -> Folded:
    if min(map(len, shapes)) < 2:
        raise ValueError("one of its factors is a vector")
    common, padded, kinds = _broadcast([shape[:-2] for shape in shapes])
    groups = _groups(kinds)
    inputs = [_fold(wide, groups) + shape[-2:] for wide, shape in zip(padded, shapes, strict=True)]
    return Folded(inputs, [(*_fold(common, groups), shapes[0][-2], shapes[1][-1])])


def _integers(editor: Editor, tensor: str) -> list[int]:
    value = editor.value(tensor)
    if value is None:
        raise ValueError(f"{tensor!r} is computed")
    return [int(number) for number in value.ravel()]


RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        **dict.fromkeys(ELEMENT_WISE, _element_wise),
        **dict.fromkeys(REDUCTIONS, _reduction),
        "Concat": _concat,
        "Expand": _expand,
        "Gather": _gather,
        "LogSoftmax": _softmax,
        "MatMul": _matmul,
        "Slice": _slice,
        "Softmax": _softmax,
        "Split": _split,
        "Transpose": _transpose,
    }
)
"""Operator -> how its axes are folded."""
