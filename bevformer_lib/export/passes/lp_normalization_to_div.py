"""LpNormalization, at which the converter fails, is written as a division by the norm.

before::

    y = LpNormalization(x, axis=-1, p=2)

after::

    y = Div(x, Max(ReduceL2(x, axes=[-1], keepdims=1), tiny))

``tiny``, the smallest normal float32, keeps 0 / 0 at 0, as the standard has it. With ``p=1`` the norm is the sum of
the magnitudes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from bevformer_lib.export.graph import attributes
from bevformer_lib.export.passes.base import Editor, PassResult, replace_nodes


def apply(model: onnx.ModelProto) -> PassResult:
    """Replace every LpNormalization.

    Args:
        model: any graph; it is not modified.

    Returns:
        The rewritten graph and the number of nodes changed.
    """
    return replace_nodes(model, lambda node: node.op_type == "LpNormalization", _division)


def _division(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto]:
    given = attributes(node)
    axis, power = given.get("axis", -1), given.get("p", 2)
    source, output, label = node.input[0], node.output[0], node.name or node.output[0]
    nodes = []
    if power == 1:
        summed, operator = editor.name(f"{output}_magnitudes"), "ReduceSum"
        nodes.append(onnx.helper.make_node("Abs", [source], [summed], f"{label}/Abs"))
    else:
        summed, operator = source, "ReduceL2"
    norm, floored = editor.name(f"{output}_norm"), editor.name(f"{output}_norm_floored")
    if "axes" in onnx.defs.get_schema(operator, editor.opset).attributes:
        reduce = onnx.helper.make_node(operator, [summed], [norm], f"{label}/{operator}", axes=[axis], keepdims=1)
    else:
        axes = editor.constant(f"{output}_axes", np.asarray([axis], np.int64))
        reduce = onnx.helper.make_node(operator, [summed, axes], [norm], f"{label}/{operator}", keepdims=1)
    tiny = editor.constant(f"{output}_tiny", np.asarray([np.finfo(np.float32).tiny], np.float32))
    nodes += [
        reduce,
        onnx.helper.make_node("Max", [norm, tiny], [floored], f"{label}/Max"),
        onnx.helper.make_node("Div", [source, floored], [output], node.name),
    ]
    return nodes
