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
from bevformer_lib.export.passes.base import Editor, PassResult, replace_nodes


def apply(model: onnx.ModelProto) -> PassResult:
    """Replace every Swish.

    Args:
        model: any graph; it is not modified.

    Returns:
        The rewritten graph and the number of nodes changed.
    """
    return replace_nodes(model, lambda node: node.op_type == "Swish", _with_sigmoid)


def _with_sigmoid(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto]:
    source, output, label = node.input[0], node.output[0], node.name or node.output[0]
    alpha = attributes(node).get("alpha", 1.0)
    nodes = []
    inner = source
    if alpha != 1.0:
        inner = editor.name(f"{output}_scaled")
        factor = editor.constant(f"{output}_alpha", np.asarray([alpha], np.float32))
        nodes.append(onnx.helper.make_node("Mul", [source, factor], [inner], f"{label}/scale"))
    gate = editor.name(f"{output}_gate")
    nodes.append(onnx.helper.make_node("Sigmoid", [inner], [gate], f"{label}/Sigmoid"))
    nodes.append(onnx.helper.make_node("Mul", [source, gate], [output], node.name))
    return nodes
