"""LpNormalization, at which the converter fails, is written as a division by the norm.

before::

    y = LpNormalization(x, axis=-1, p=2)

after::

    y = Div(x, Max(ReduceL2(x, axes=[-1], keepdims=1), tiny))

``tiny``, the smallest normal number of ``x``'s type, keeps 0 / 0 at 0, as the standard has it. It does so in floating
point only: on the scale of the norms, in eight bits, it is 0 itself, and the quotient of a vector of zeros is whatever
the NPU makes of 0 / 0. With ``p=1`` the norm is the sum of the magnitudes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from bevformer_lib.export.graph import attributes
from bevformer_lib.export.passes.base import Editor, InPlaceOf, PassResult, replace_nodes


def apply(model: onnx.ModelProto) -> PassResult:
    """Replace every LpNormalization."""
    return replace_nodes(model, lambda node: node.op_type == "LpNormalization", _division)


def _division(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto]:
    given = attributes(node)
    axis, power = given.get("axis", -1), given.get("p", 2)
    source, kind = node.input[0], editor.float_type(node.input[0])
    instead = InPlaceOf(node, editor)
    operator = "ReduceSum" if power == 1 else "ReduceL2"
    summed = instead.add("Abs", [source], "magnitudes") if power == 1 else source
    if "axes" in onnx.defs.get_schema(operator, editor.opset).attributes:
        norm = instead.add(operator, [summed], "norm", axes=[axis], keepdims=1)
    else:
        axes = instead.constant("axes", np.asarray([axis], np.int64))
        norm = instead.add(operator, [summed, axes], "norm", keepdims=1)
    tiny = instead.constant("tiny", np.asarray([np.finfo(kind).tiny], kind))
    floored = instead.add("Max", [norm, tiny], "norm_floored")
    instead.add("Div", [source, floored], "normalized")
    return instead.nodes()
