from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.convert.onnxruntime import quantize_nodes
from bevformer_lib.convert.own_weights import give_own_weights
from bevformer_lib.convert.selection import select_nodes
from bevformer_lib.runtime.onnxruntime import OnnxRuntime

SIZE = 64


def shared_graph(op: str) -> onnx.ModelProto:
    """Return two layers with one weight, as BEVFormer's value projection over two feature levels."""
    shape = (SIZE, SIZE, 1, 1) if op == "Conv" else (SIZE, SIZE)
    weight = np.random.default_rng(0).uniform(0.9, 1.0, shape).astype(np.float32)
    image = [1, SIZE, 4, 4] if op == "Conv" else [4, SIZE]
    nodes = [helper.make_node(op, [f"x{k}", "weight"], [f"y{k}"], f"layer{k}") for k in range(2)]
    graph = helper.make_graph(
        nodes,
        "shared",
        [helper.make_tensor_value_info(f"x{k}", TensorProto.FLOAT, image) for k in range(2)],
        [helper.make_tensor_value_info(f"y{k}", TensorProto.FLOAT, image) for k in range(2)],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(weight, "weight.1")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("op", ["Conv", "MatMul"])
def test_layers_that_share_a_weight_load_and_are_right_on_every_processor(op: str, tmp_path: Path) -> None:
    """All products are large and of one sign: kernels that add them in 16 bits (no VNNI) are wrong by a third."""
    model = shared_graph(op)
    onnx.save(model, tmp_path / "float.onnx")
    reference = OnnxRuntime(tmp_path / "float.onnx", threads=1)
    feed = {name: np.full(spec.shape, 0.99, np.float32) for name, spec in reference.inputs.items()}
    expected = reference.run(feed)
    selection = select_nodes(model.graph)
    ranges = {name: (np.float32(0), np.float32(1 if name[0] == "x" else 80)) for name in selection.tensors}
    onnx.save(quantize_nodes(model, selection, ranges), tmp_path / "int8.onnx")
    found = OnnxRuntime(tmp_path / "int8.onnx", threads=1).run(feed)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0.01)


def test_only_layers_that_are_quantised_get_a_copy_under_a_free_name() -> None:
    graph = shared_graph("Conv").graph
    give_own_weights(graph, ["layer1"])
    assert [node.input[1] for node in graph.node] == ["weight", "weight"]
    give_own_weights(graph, ["layer0", "layer1"])
    assert [node.input[1] for node in graph.node] == ["weight", "weight.2"]
    copies = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    np.testing.assert_array_equal(copies["weight"], copies["weight.2"])
