"""Hand-made graphs for the tests of rewrites and checks, and how to run them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

NodeList = Sequence[onnx.NodeProto]


def model_of(
    nodes: NodeList,
    inputs: dict[str, Sequence[int | str]],
    outputs: dict[str, Sequence[int | str] | None],
    *,
    constants: dict[str, NDArray[Any]] | None = None,
    opset: int = 17,
    domains: Sequence[str] = (),
    int64_outputs: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model of float32 inputs and outputs."""
    graph = helper.make_graph(
        list(nodes),
        "hand_made",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs.items()],
        [
            helper.make_tensor_value_info(
                name, TensorProto.INT64 if name in int64_outputs else TensorProto.FLOAT, shape
            )
            for name, shape in outputs.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def int64(*values: int) -> NDArray[np.int64]:
    return np.asarray(values, dtype=np.int64)


def run_model(model: onnx.ModelProto, *, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Outputs for inputs drawn uniformly from [-1.2, 1.2): sampling grids then also point outside the image."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(seed)
    feed = {value.name: generator.uniform(-1.2, 1.2, value.shape).astype(np.float32) for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def operators(model: onnx.ModelProto) -> list[str]:
    return [f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in model.graph.node]


def vendor_like_model(*, opset: int = 17) -> onnx.ModelProto:
    """As the vendor's exporter makes them: grid sampling in ONNX Runtime's own domain, Reshape shapes from ``Shape``.

    The samples (2, 4, 5, 3) are flattened, ``reshape(x.shape[0], x.shape[1], -1)``, split again and scaled by a weight.
    """
    nodes = [
        helper.make_node(
            "GridSample", ["features", "grid"], ["sampled"], "sample", domain="com.microsoft",
            mode="bilinear", padding_mode="zeros", align_corners=0,
        ),
        helper.make_node("Shape", ["features"], ["features_shape"], "shape"),
        helper.make_node("Gather", ["features_shape", "zero"], ["batch"], "batch", axis=0),
        helper.make_node("Unsqueeze", ["batch", "axis0"], ["batch_1d"], "batch_1d"),
        helper.make_node("Gather", ["features_shape", "one"], ["channels"], "channels", axis=0),
        helper.make_node("Unsqueeze", ["channels", "axis0"], ["channels_1d"], "channels_1d"),
        helper.make_node("Concat", ["batch_1d", "channels_1d", "minus_one"], ["flat_shape"], "flat_shape", axis=0),
        helper.make_node("Reshape", ["sampled", "flat_shape"], ["flat"], "flatten"),
        helper.make_node("Shape", ["flat"], ["seen_shape"], "shape_after"),
        helper.make_node("Slice", ["seen_shape", "axis0", "axis2"], ["leading"], "leading"),
        helper.make_node("Concat", ["leading", "five", "minus_one"], ["split_shape"], "split_shape", axis=0),
        helper.make_node("Reshape", ["flat", "split_shape"], ["split"], "split"),
        helper.make_node("Mul", ["split", "weight"], ["y"], "scale"),
    ]  # fmt: skip
    constants: dict[str, NDArray[Any]] = {
        "zero": np.asarray(0, dtype=np.int64),
        "one": np.asarray(1, dtype=np.int64),
        "axis0": int64(0),
        "axis2": int64(2),
        "five": int64(5),
        "minus_one": int64(-1),
        "weight": np.linspace(0.5, 2.0, 3, dtype=np.float32),
    }
    return model_of(
        nodes,
        {"features": (2, 4, 6, 7), "grid": (2, 5, 3, 2)},
        {"y": (2, 4, 5, 3)},
        constants=constants,
        opset=opset,
        domains=["com.microsoft"],
    )
