"""A reduction of everything names its axes: without names, the card reduces the last axis only.

before::

    y = ReduceMean(x)                           # x: (2, 3, 4)

after::

    y = ReduceMean(x, axes=[0, 1, 2])

From the operator set on in which the axes are an input, they become one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx

from bevformer_lib.export.graph import attributes
from bevformer_lib.export.passes.base import Editor, PassResult, replace_nodes

_REDUCTIONS: Final = frozenset(
    {"ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"}
)


def apply(model: onnx.ModelProto) -> PassResult:
    """Name the axes of every reduction that leaves them out.

    Args:
        model: any graph; it is not modified.

    Returns:
        The rewritten graph, the number of nodes changed, and why others were not.
    """
    return replace_nodes(model, _is_candidate, _named)


def _is_candidate(node: onnx.NodeProto) -> bool:
    given = attributes(node)
    named = given.get("axes") or (len(node.input) > 1 and node.input[1])
    return node.op_type in _REDUCTIONS and not named and not given.get("noop_with_empty_axes", 0)


def _named(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto]:
    axes = list(range(len(editor.shape(node.input[0]))))
    kept = {key: value for key, value in attributes(node).items() if key != "axes"}
    inputs = [node.input[0]]
    if "axes" in onnx.defs.get_schema(node.op_type, editor.opset).attributes:
        kept["axes"] = axes
    else:
        inputs.append(editor.constant(f"{node.output[0]}_axes", np.asarray(axes, np.int64)))
    return [onnx.helper.make_node(node.op_type, inputs, node.output, node.name, **kept)]
