"""A table of three axes and more is gathered as one of two, and indices as one row.

before::

    y = Gather(table, indices, axis=0)          # table: (64, 8, 32), indices: (5,)

after::

    flat = Reshape(table, [64, 256])
    rows = Gather(flat, indices, axis=0)        # (5, 256)
    y = Reshape(rows, [5, 8, 32])

Where another axis is gathered, it is turned to the front and back again; along the last one the converter needs no
help. Indices of another rank than one are flattened too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx

from bevformer_lib.export.graph import attributes
from bevformer_lib.export.passes.base import Editor, PassResult, replace_nodes

_TABLE_RANK: Final = 2


def apply(model: onnx.ModelProto) -> PassResult:
    """Flatten tables and indices of every Gather that has too many axes.

    Args:
        model: any graph; it is not modified.

    Returns:
        The rewritten graph, the number of nodes changed, and why others were not.
    """
    return replace_nodes(model, lambda node: node.op_type == "Gather", _flat)


def _flat(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto] | None:
    table, indices = editor.shape(node.input[0]), editor.shape(node.input[1])
    axis = attributes(node).get("axis", 0) % max(len(table), 1)
    along_last = axis == len(table) - 1
    if (len(table) <= _TABLE_RANK or along_last) and len(indices) <= 1:
        return None
    others = [size for place, size in enumerate(table) if place != axis]
    order = [axis, *(place for place in range(len(table)) if place != axis)]
    nodes: list[onnx.NodeProto] = []

    def add(operator: str, inputs: list[str], stem: str, **given: Any) -> str:
        name = editor.name(f"{node.output[0]}_{stem}")
        nodes.append(onnx.helper.make_node(operator, inputs, [name], f"{node.name or node.output[0]}/{stem}", **given))
        return name

    def reshaped(tensor: str, shape: list[int], stem: str) -> str:
        return add("Reshape", [tensor, editor.constant(f"{node.output[0]}_{stem}_shape", np.asarray(shape))], stem)

    source = node.input[0]
    if axis != 0:
        source = add("Transpose", [source], "table_turned", perm=order)
    if len(table) != _TABLE_RANK:
        source = reshaped(source, [table[axis], math.prod(others)], "table_flat")
    read = node.input[1]
    if len(indices) != 1:
        value = editor.value(read)
        flat = f"{node.output[0]}_indices"
        read = reshaped(read, [-1], "indices_flat") if value is None else editor.constant(flat, value.reshape(-1))
    rows = add("Gather", [source, read], "rows", axis=0)
    result = reshaped(rows, [*indices, *others], "split")
    if axis != 0:
        # Axes of the result so far: those of the indices, then the others; the indices' belong where the axis was.
        count = len(indices)
        back = [*range(count, count + axis), *range(count), *range(count + axis, count + len(others))]
        result = add("Transpose", [result], "turned_back", perm=back)
    nodes[-1].output[0] = node.output[0]
    nodes[-1].name = node.name
    return nodes
