"""The bias behind a product of two computed tensors gets a second axis, or the converter fuses both and fails.

before::

    y = Add(MatMul(a, b), bias)                 # bias: (n,), constant

after::

    y = Add(MatMul(a, b), bias')                # bias': (1, n)
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from bevformer_lib.export.passes.base import Editor, PassResult, replace_nodes


def apply(model: onnx.ModelProto) -> PassResult:
    """Give every such bias a leading axis of one.

    Args:
        model: any graph; it is not modified.

    Returns:
        The rewritten graph, the number of nodes changed, and why others were not.
    """
    return replace_nodes(model, lambda node: node.op_type == "Add", _with_two_axes)


def _with_two_axes(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto] | None:
    for place, other in ((0, 1), (1, 0)):
        maker = editor.makers.get(node.input[other])
        bias = node.input[place]
        live = maker is not None and maker.op_type == "MatMul" and not any(map(editor.is_constant, maker.input))
        if live and editor.is_constant(bias) and len(editor.shapes.get(bias, ())) == 1:
            value = editor.value(bias)
            if value is None:
                raise ValueError(f"the value of {bias!r} is not in this file")
            node.input[place] = editor.constant(f"{bias}_row", value.reshape(1, -1))
            return [node]
    return None
