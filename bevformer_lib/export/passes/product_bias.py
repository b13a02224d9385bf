"""The bias behind a product of two computed tensors gets a second axis, or the converter fuses both and fails.

A product of one axis, that of a vector and a matrix, stays as it is: a row would give its sum a second axis.

before::

    y = Add(MatMul(a, b), bias)                 # bias: (n,), constant

after::

    y = Add(MatMul(a, b), bias')                # bias': (1, n)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx

from bevformer_lib.export.passes.base import Editor, PassResult, replace_nodes

_ROW_RANK: Final = 2
"""Fewest axes of a product that a bias of shape (1, n) leaves as many."""


def apply(model: onnx.ModelProto) -> PassResult:
    """Give every such bias a leading axis of one."""
    return replace_nodes(model, lambda node: node.op_type == "Add", _with_two_axes)


def _with_two_axes(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto] | None:
    for place, other in ((0, 1), (1, 0)):
        product = node.input[other]
        maker = editor.makers.get(product)
        bias = node.input[place]
        live = maker is not None and maker.op_type == "MatMul" and not any(map(editor.is_constant, maker.input))
        if live and editor.is_constant(bias) and len(editor.shapes.get(bias, ())) == 1:
            if len(editor.shape(product)) < _ROW_RANK:
                return None
            value = editor.value(bias)
            if value is None:
                raise ValueError(f"the value of {bias!r} is not in this file")
            node.input[place] = editor.constant(f"{bias}_row", value.reshape(1, -1))
            return [node]
    return None
