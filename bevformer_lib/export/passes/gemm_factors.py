"""Factors of a Gemm go into its constants: the converter takes no other factor than one.

before::

    y = Gemm(x, weight, bias, alpha=0.5, beta=2.0)

after::

    y = Gemm(x, 0.5 * weight, 2.0 * bias)
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from bevformer_lib.export.graph import attributes
from bevformer_lib.export.passes.base import Editor, PassResult, replace_nodes


def apply(model: onnx.ModelProto) -> PassResult:
    """Multiply the factors of every Gemm into its weight and bias."""
    return replace_nodes(model, lambda node: node.op_type == "Gemm" and _factors(node) != (1.0, 1.0), _multiplied)


def _factors(node: onnx.NodeProto) -> tuple[float, float]:
    given = attributes(node)
    return given.get("alpha", 1.0), given.get("beta", 1.0)


def _multiplied(node: onnx.NodeProto, editor: Editor) -> Sequence[onnx.NodeProto]:
    alpha, beta = _factors(node)
    inputs = list(node.input)
    for place, factor in ((1, alpha), (2, beta)):
        if factor == 1.0 or place >= len(inputs) or not inputs[place]:
            continue
        value = editor.value(inputs[place])
        if value is None:
            raise ValueError(f"{inputs[place]!r} is computed, so its factor {factor:g} can't be multiplied in")
        inputs[place] = editor.constant(f"{inputs[place]}_times_{factor:g}", (value * factor).astype(value.dtype))
    kept = {key: value for key, value in attributes(node).items() if key not in ("alpha", "beta")}
    return [onnx.helper.make_node("Gemm", inputs, node.output, node.name, **kept)]
