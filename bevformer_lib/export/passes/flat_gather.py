"""A table of three axes and more is gathered as one of two, and indices as one row.

before::

    y = Gather(table, indices, axis=0)          # table: (64, 8, 32), indices: (5,)

after::

    flat = Reshape(table, [64, 256])
    rows = Gather(flat, indices, axis=0)        # (5, 256)
    y = Reshape(rows, [5, 8, 32])

Where an axis in between is gathered, it is turned to the front and back again; along the last one the others become
one. Indices of another rank than one are flattened too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx

from bevformer_lib.export.graph import attributes
from bevformer_lib.export.passes.base import Editor, InPlaceOf, PassResult, replace_nodes

_TABLE_RANK: Final = 2


def apply(model: onnx.ModelProto) -> PassResult:
    """Flatten tables and indices of every Gather that has too many axes."""
    return replace_nodes(model, lambda node: node.op_type == "Gather", _flat)


def _flat(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto] | None:
    table, indices = editor.shape(node.input[0]), editor.shape(node.input[1])
    axis = attributes(node).get("axis", 0) % max(len(table), 1)
    if len(table) <= _TABLE_RANK and len(indices) <= 1:
        return None
    last = axis == len(table) - 1 and axis != 0
    others = [size for place, size in enumerate(table) if place != axis]
    instead = InPlaceOf(node, editor)

    def reshaped(tensor: str, shape: list[int], stem: str) -> str:
        return instead.add("Reshape", [tensor, instead.constant(f"{stem}_shape", np.asarray(shape))], stem)

    source = node.input[0]
    if axis != 0 and not last:
        order = [axis, *(place for place in range(len(table)) if place != axis)]
        source = instead.add("Transpose", [source], "table_turned", perm=order)
    if len(table) != _TABLE_RANK:
        flat = [math.prod(others), table[axis]]
        source = reshaped(source, flat if last else flat[::-1], "table_flat")
    read = node.input[1]
    if len(indices) != 1:
        value = editor.value(read)
        read = reshaped(read, [-1], "indices_flat") if value is None else instead.constant("indices", value.reshape(-1))
    rows = instead.add("Gather", [source, read], "rows", axis=int(last))
    result = reshaped(rows, [*others, *indices] if last else [*indices, *others], "split")
    if axis != 0 and not last:
        # Axes of the result so far: those of the indices, then the others; the indices' belong where the axis was.
        count = len(indices)
        back = [*range(count, count + axis), *range(count), *range(count + axis, count + len(others))]
        instead.add("Transpose", [result], "turned_back", perm=back)
    return instead.nodes()
