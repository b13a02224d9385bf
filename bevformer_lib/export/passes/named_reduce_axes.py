"""A reduction of everything names its axes: without names, the card reduces the last axis only.

before::

    y = ReduceMean(x)                           # x: (2, 3, 4)

after::

    y = ReduceMean(x, axes=[0, 1, 2])

From the operator set on in which the axes are an input, they become one. An empty list of axes names none either.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from bevformer_lib.export.graph import REDUCTIONS, attributes
from bevformer_lib.export.passes.base import Editor, PassResult, replace_nodes


def apply(model: onnx.ModelProto) -> PassResult:
    """Name the axes of every reduction that leaves them out."""
    return replace_nodes(model, _is_candidate, _named)


def _is_candidate(node: onnx.NodeProto) -> bool:
    given = attributes(node)
    return node.op_type in REDUCTIONS and not given.get("axes") and not given.get("noop_with_empty_axes", 0)


def _named(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto] | None:
    if len(node.input) > 1 and node.input[1] and editor.shapes.get(node.input[1]) != (0,):
        return None
    axes = list(range(len(editor.shape(node.input[0]))))
    if not axes:
        return None  # without axes there are none to name
    kept = {key: value for key, value in attributes(node).items() if key != "axes"}
    inputs = [node.input[0]]
    if "axes" in onnx.defs.get_schema(node.op_type, editor.opset).attributes:
        kept["axes"] = axes
    else:
        inputs.append(editor.constant(f"{node.output[0]}_axes", np.asarray(axes, np.int64)))
    return [onnx.helper.make_node(node.op_type, inputs, node.output, node.name, **kept)]
