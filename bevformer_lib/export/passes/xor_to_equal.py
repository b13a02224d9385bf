"""Xor, which ends the converter with a KeyError, is written with Equal.

before::

    y = Xor(a, b)

after::

    y = Not(Equal(a, b))
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from bevformer_lib.export.passes.base import Editor, InPlaceOf, PassResult, replace_nodes


def apply(model: onnx.ModelProto) -> PassResult:
    """Replace every Xor.

    Returns:
        The rewritten graph and the number of nodes changed.
    """
    return replace_nodes(model, lambda node: node.op_type == "Xor", _not_equal)


def _not_equal(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto]:
    instead = InPlaceOf(node, editor)
    instead.add("Not", [instead.add("Equal", node.input, "same")], "not")
    return instead.nodes()
