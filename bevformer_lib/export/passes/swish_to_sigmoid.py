"""Swish, for which the converter finds no operator, is written with Sigmoid.

before::

    y = Swish(x, alpha=1.5)

after::

    y = Mul(x, Sigmoid(Mul(x, 1.5)))
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from bevformer_lib.export.graph import attributes
from bevformer_lib.export.passes.base import Editor, InPlaceOf, PassResult, replace_nodes


def apply(model: onnx.ModelProto) -> PassResult:
    """Replace every Swish."""
    return replace_nodes(model, lambda node: node.op_type == "Swish", _with_sigmoid)


def _with_sigmoid(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto]:
    source, alpha = node.input[0], attributes(node).get("alpha", 1.0)
    instead = InPlaceOf(node, editor)
    inner = source
    if alpha != 1.0:
        factor = instead.constant("alpha", np.asarray([alpha], editor.float_type(source)))
        inner = instead.add("Mul", [source, factor], "scaled")
    gate = instead.add("Sigmoid", [inner], "gate")
    instead.add("Mul", [source, gate], "gated")
    return instead.nodes()
