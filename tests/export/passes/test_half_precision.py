"""The constants that rewrites add are of the type that the graph computes in."""

from __future__ import annotations

from types import ModuleType

import onnx
import pytest
from onnx import TensorProto, helper

from bevformer_lib.export.passes import live_gemm_to_matmul, lp_normalization_to_div, swish_to_sigmoid

HALVES = [
    (live_gemm_to_matmul, helper.make_node("Gemm", ["x", "x"], ["y"], "it", alpha=0.5), 17),
    (lp_normalization_to_div, helper.make_node("LpNormalization", ["x"], ["y"], "it", p=2), 17),
    (swish_to_sigmoid, helper.make_node("Swish", ["x"], ["y"], "it", alpha=1.5), 24),
]


def _model(node: onnx.NodeProto, opset: int, kind: int) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, kind, [3, 3]) for name in ("x", "y")]
    graph = helper.make_graph([node], "hand_made", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


@pytest.mark.parametrize(("rewrite", "node", "opset"), HALVES, ids=lambda value: getattr(value, "op_type", ""))
def test_constants_have_the_type_of_the_graph(rewrite: ModuleType, node: onnx.NodeProto, opset: int) -> None:
    result = rewrite.apply(_model(node, opset, TensorProto.FLOAT16))
    assert result.changed == 1
    onnx.shape_inference.infer_shapes(result.model, strict_mode=True, check_type=True)
    kinds = {tensor.data_type for tensor in result.model.graph.initializer} - {TensorProto.INT64}
    assert kinds == {TensorProto.FLOAT16}


@pytest.mark.parametrize(("rewrite", "node", "opset"), HALVES, ids=lambda value: getattr(value, "op_type", ""))
def test_a_type_that_is_not_known_is_refused(rewrite: ModuleType, node: onnx.NodeProto, opset: int) -> None:
    model = _model(node, opset, TensorProto.BFLOAT16)
    result = rewrite.apply(model)
    assert result.model is model
    assert [refusal.reason for refusal in result.refusals] == [
        "the type of 'x' is not known to be float16, float32 or float64"
    ]
