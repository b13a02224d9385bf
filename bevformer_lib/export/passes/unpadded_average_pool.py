"""Average pooling without padding says that it counts padding: the only setting that the NPU's converter takes.

before::

    y = AveragePool(x, kernel_shape=[2, 2], strides=[2, 2], count_include_pad=0)

after::

    y = AveragePool(x, kernel_shape=[2, 2], strides=[2, 2], count_include_pad=1)

Where nothing is padded, both divide by the same number. Where something is, or where ``ceil_mode`` lets a window hang
over the edge, the place is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from bevformer_lib.export.graph import attributes
from bevformer_lib.export.passes.base import Editor, PassResult, replace_nodes, set_attributes


def apply(model: onnx.ModelProto) -> PassResult:
    """Set ``count_include_pad`` wherever it has no effect."""
    return replace_nodes(model, _is_candidate, _counted)


def _counted(node: onnx.NodeProto, _: Editor) -> Sequence[onnx.NodeProto]:
    given = attributes(node)
    if any(given.get("pads", [])):
        raise ValueError(f"its padding {given['pads']} would count")
    if given.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise ValueError(f"auto_pad {given['auto_pad']!r} may pad")
    if given.get("ceil_mode", 0):
        raise ValueError("ceil_mode lets a window hang over the edge")
    set_attributes(node, count_include_pad=1)
    return [node]


def _is_candidate(node: onnx.NodeProto) -> bool:
    return node.op_type == "AveragePool" and attributes(node).get("count_include_pad", 0) == 0
