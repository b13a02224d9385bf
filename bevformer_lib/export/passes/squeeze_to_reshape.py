"""A Squeeze becomes a Reshape, which the NPU's scheduler can place.

before::

    y = Squeeze(x, [0])                         # x: (1, 8, 64, 2500, 2)

after::

    y = Reshape(x, [8, 64, 2500, 2])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from bevformer_lib.export.passes.base import Editor, PassResult, replace_nodes


def apply(model: onnx.ModelProto) -> PassResult:
    """Replace every Squeeze whose result has a fixed shape."""
    return replace_nodes(model, lambda node: node.op_type == "Squeeze", _reshape)


def _reshape(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto]:
    shape = editor.constant(f"{node.output[0]}_shape", np.asarray(editor.shape(node.output[0]), np.int64))
    return [onnx.helper.make_node("Reshape", [node.input[0], shape], node.output, node.name)]
