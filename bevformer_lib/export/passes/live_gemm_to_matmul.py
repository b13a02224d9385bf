"""A Gemm of two computed tensors becomes a MatMul, as the converter asks for.

before::

    y = Gemm(a, b, bias, alpha=0.5, transB=1)   # b is computed

after::

    y = Add(Mul(MatMul(a, Transpose(b)), 0.5), bias')

A constant bias of one axis gets a second one, since the converter would fuse it back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from bevformer_lib.export.graph import attributes
from bevformer_lib.export.passes.base import Editor, InPlaceOf, PassResult, replace_nodes


def apply(model: onnx.ModelProto) -> PassResult:
    """Replace every Gemm whose second factor is computed."""
    return replace_nodes(model, lambda node: node.op_type == "Gemm", _matmul)


def _matmul(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto] | None:
    if editor.is_constant(node.input[1]):
        return None
    given = attributes(node)
    instead = InPlaceOf(node, editor)

    def scaled(tensor: str, factor: float, stem: str) -> str:
        if factor == 1.0:
            return tensor
        value = np.asarray([[factor]], editor.float_type(node.input[0]))
        return instead.add("Mul", [tensor, instead.constant(f"{stem}_factor", value)], stem)

    factors = [
        instead.add("Transpose", [name], f"{side}_turned", perm=[1, 0]) if given.get(f"trans{side}", 0) else name
        for name, side in zip(node.input, "AB", strict=False)
    ]
    result = scaled(instead.add("MatMul", factors, "product"), given.get("alpha", 1.0), "scaled")
    if len(node.input) > 2 and node.input[2]:
        bias, beta = node.input[2], given.get("beta", 1.0)
        value = editor.value(bias)
        if value is None:
            bias = scaled(bias, beta, "bias_scaled")
        else:
            bias = editor.constant(f"{bias}_row", (np.atleast_2d(value) * beta).astype(value.dtype))
        instead.add("Add", [result, bias], "biased")
    return instead.nodes()
