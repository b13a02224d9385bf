"""An ONNX graph with a BEVFormer's interface that runs in a millisecond, to test everything around the model.

Every output depends on every input, ``prev_bev`` keeps a fading memory of past frames, and one ``MatMul``
projects constant LiDAR points with ``lidar2img``, as the real graph's geometry does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.names import CAN_BUS_SIZE, INPUT_NAMES, OUTPUT_NAMES

OPSET = 17
CODE_SIZE = 10
STRIDE = 8
BOX_CENTER = (0.0, 0.0, np.log(1.9), np.log(4.6), -1.0, np.log(1.7), 0.0, 0.0, 0.0, 0.0)
BOX_SPREAD = (50.0, 50.0, 0.3, 0.3, 1.5, 0.3, 1.0, 1.0, 6.0, 6.0)


class _GraphWriter:
    """Collects nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._random = np.random.RandomState(20_240_611)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def weight(self, name: str, *shape: int, scale: float) -> str:
        return self.constant(name, (self._random.standard_normal(shape) * scale).astype(np.float32))

    def shape(self, name: str, *shape: int) -> str:
        return self.constant(name, np.asarray(shape, dtype=np.int64))

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=f"toy/{output}", **attributes))
        return output

    def linear(self, features: str, name: str, size_in: int, size_out: int, gain: float = 1.0) -> str:
        weight = self.weight(f"{name}.weight", size_out, size_in, scale=gain / np.sqrt(size_in))
        bias = self.weight(f"{name}.bias", size_out, scale=0.1)
        return self.add("Gemm", [features, weight, bias], name, transB=1)


def write_toy_graph(
    path: Path,
    *,
    num_cams: int = 6,
    image_hw: tuple[int, int] = (96, 160),
    bev_hw: tuple[int, int] = (10, 12),
    embed_dims: int = 32,
    num_query: int = 30,
    num_classes: int = 10,
    decoder_layers: int = 2,
) -> Path:
    """Write the graph and return ``path``; same arguments, same bytes. Default sizes: ``micro_config``."""
    cells = bev_hw[0] * bev_hw[1]
    writer = _GraphWriter()
    context = _sensor_context(writer, num_cams, image_hw, embed_dims)
    bev = _bev(writer, context, cells, embed_dims)
    _decoder(writer, bev, cells, embed_dims, num_query, num_classes, decoder_layers)

    input_shapes = (
        (1, num_cams, 3, *image_hw),
        (1, CAN_BUS_SIZE),
        (1, num_cams, 4, 4),
        (cells, 1, embed_dims),
    )
    output_shapes = (
        (cells, 1, embed_dims),
        (decoder_layers, 1, num_query, num_classes),
        (decoder_layers, 1, num_query, CODE_SIZE),
    )
    graph = helper.make_graph(
        writer.nodes,
        "toy_bevformer",
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
            for n, s in zip(INPUT_NAMES, input_shapes, strict=True)
        ],
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
            for n, s in zip(OUTPUT_NAMES, output_shapes, strict=True)
        ],
        initializer=writer.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="toy")
    model.ir_version = 8
    helper.set_model_props(model, {"toy": "yes"})
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def give_metadata(graph: Path, metadata: Mapping[str, str]) -> Path:
    """Replace a graph's metadata, in place, and return its path."""
    model = onnx.load(str(graph))
    del model.metadata_props[:]
    helper.set_model_props(model, dict(metadata))
    onnx.save(model, str(graph))
    return graph


def _sensor_context(writer: _GraphWriter, num_cams: int, image_hw: tuple[int, int], channels: int) -> str:
    """Reduce images, ego motion and camera geometry to one row of features, (1, channels)."""
    height, width = image_hw
    images = writer.add("Reshape", ["img", writer.shape("img.shape", num_cams, 3, height, width)], "images")
    kernel = writer.weight("stem.weight", channels, 3, STRIDE, STRIDE, scale=1.0 / STRIDE)
    stem = writer.add("Conv", [images, kernel], "stem", kernel_shape=[STRIDE] * 2, strides=[STRIDE] * 2)
    pooled = writer.add("GlobalAveragePool", [writer.add("Relu", [stem], "stem.relu")], "pooled")
    flat = writer.add("Reshape", [pooled, writer.shape("pooled.shape", 1, num_cams * channels)], "pooled.flat")
    seen = writer.linear(flat, "seen", num_cams * channels, channels)

    moved = writer.linear("can_bus", "moved", CAN_BUS_SIZE, channels, gain=0.3)

    points = np.array([[10, 0, 0, 1], [0, 10, 0, 1], [-10, 5, 1, 1], [5, -10, 2, 1]], dtype=np.float32).T
    projected = writer.add("MatMul", ["lidar2img", writer.constant("pillars", points)], "projected")
    scaled = writer.add("Mul", [projected, writer.constant("scale", np.float32(1e-4).reshape(()))], "scaled")
    flat_points = writer.add("Reshape", [scaled, writer.shape("scaled.shape", 1, num_cams * 16)], "scaled.flat")
    placed = writer.linear(flat_points, "placed", num_cams * 16, channels)

    sensed = writer.add(
        "Add", [writer.add("Tanh", [seen], "seen.tanh"), writer.add("Tanh", [moved], "moved.tanh")], "sensed"
    )
    return writer.add("Add", [sensed, writer.add("Tanh", [placed], "placed.tanh")], "context")


def _bev(writer: _GraphWriter, context: str, cells: int, channels: int) -> str:
    """Mix the context with the history and a learnt map into ``bev_embed``, (cells, 1, channels)."""
    mixing = writer.weight("history.weight", channels, channels, scale=0.7 / np.sqrt(channels))
    history = writer.add("MatMul", ["prev_bev", mixing], "history")
    queries = writer.weight("bev_queries", cells, 1, channels, scale=0.5)
    present = writer.add("Add", [queries, context], "present")
    return writer.add("Tanh", [writer.add("Add", [history, present], "mixed")], "bev_embed")


def _decoder(
    writer: _GraphWriter, bev: str, cells: int, channels: int, num_query: int, num_classes: int, layers: int
) -> None:
    """Let learnt queries attend to the BEV; every layer puts out class logits and boxes in metres."""
    rows = writer.add("Reshape", [bev, writer.shape("bev.shape", cells, channels)], "bev.rows")
    columns = writer.add("Transpose", [rows], "bev.columns", perm=[1, 0])
    query = writer.weight("object_queries", num_query, channels, scale=1.0)
    spread = writer.constant("box.spread", np.asarray(BOX_SPREAD, dtype=np.float32))
    center = writer.constant("box.center", np.asarray(BOX_CENTER, dtype=np.float32))
    classes, coords = [], []
    for layer in range(layers):
        name = f"layer{layer}"
        scores = writer.add("MatMul", [query, columns], f"{name}.scores")
        attention = writer.add("Softmax", [scores], f"{name}.attention", axis=-1)
        read = writer.add("MatMul", [attention, rows], f"{name}.read")
        query = writer.add(
            "Add", [query, writer.linear(read, f"{name}.value", channels, channels, 2.0)], f"{name}.query"
        )
        logits = writer.linear(query, f"{name}.classes", channels, num_classes)
        boxes = writer.add("Tanh", [writer.linear(query, f"{name}.boxes", channels, CODE_SIZE, 0.5)], f"{name}.unit")
        metres = writer.add("Add", [writer.add("Mul", [boxes, spread], f"{name}.spread"), center], f"{name}.metres")
        axes = writer.shape(f"{name}.axes", 0, 1)
        classes.append(writer.add("Unsqueeze", [logits, axes], f"{name}.logits"))
        coords.append(writer.add("Unsqueeze", [metres, axes], f"{name}.coords"))
    writer.add("Concat", classes, "outputs_classes", axis=0)
    writer.add("Concat", coords, "outputs_coords", axis=0)
