"""Attributes left at their defaults are written out where the converter takes absent ones for nothing.

before::

    y = LeakyRelu(x)
    values, indices = TopK(x, k)

after::

    y = LeakyRelu(x, alpha=0.01)
    values, indices = TopK(x, k, largest=1, sorted=1)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import onnx

from bevformer_lib.export.graph import attributes
from bevformer_lib.export.passes.base import Editor, PassResult, replace_nodes

_WRITTEN: Final[Mapping[str, tuple[str, ...]]] = {
    "Elu": ("alpha",),
    "LeakyRelu": ("alpha",),
    "TopK": ("largest", "sorted"),
}
"""Operator -> attributes that have to be there."""


def apply(model: onnx.ModelProto) -> PassResult:
    """Write the standard's defaults into every node that leaves them out.

    Returns:
        The rewritten graph and the number of nodes changed.
    """
    return replace_nodes(model, _is_candidate, _written)


def _is_candidate(node: onnx.NodeProto) -> bool:
    return any(name not in attributes(node) for name in _WRITTEN.get(node.op_type, ()))


def _written(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto]:
    known = onnx.defs.get_schema(node.op_type, editor.opset).attributes
    for name in _WRITTEN[node.op_type]:
        if name in known and name not in attributes(node):
            node.attribute.append(known[name].default_value)
    return [node]
