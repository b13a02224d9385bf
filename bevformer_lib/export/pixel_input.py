"""A graph that takes camera pixels, and normalises them by itself.

img (float32) -> Reshape -> Conv      =>      img (uint8) -> Cast -> Reshape -> Sub mean -> Div std -> Conv

Sub and Div give float32 numbers that are those of :func:`bevformer_lib.scenes.preprocess.normalization_table` to the
last bit, so the boxes are those of images normalised by the host.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.config.model_config import ImageNormConfig
from bevformer_lib.errors import ExportError
from bevformer_lib.export.graph import static_shape
from bevformer_lib.names import INPUT_IMG

_CAST: Final = f"{INPUT_IMG}.float"
_CENTERED: Final = f"{INPUT_IMG}.centered"
_NORMALIZED: Final = f"{INPUT_IMG}.normalized"


def normalize_inside(graph: onnx.GraphProto, img_norm: ImageNormConfig) -> None:
    """Make a graph, in place, take ``img`` (1, cameras, 3, H, W) as uint8 in the network's order of channels.

    Raises:
        ExportError: something other than one Reshape to (cameras, 3, H, W) reads the images.
    """
    img = _input(graph)
    readers = [node for node in graph.node if INPUT_IMG in node.input]
    shapes = {value.name: static_shape(value) for value in (*graph.input, *graph.value_info)}
    shape = shapes[INPUT_IMG]
    if len(readers) != 1 or readers[0].op_type != "Reshape" or shape is None:
        raise ExportError(f"'{INPUT_IMG}' is not read by one Reshape alone, so the graph can't be made to take uint8")
    reshape = readers[0]
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == reshape.output[0]:
                node.input[place] = _NORMALIZED
    img.type.tensor_type.elem_type = TensorProto.UINT8
    reshape.input[0] = _CAST
    constants = {f"{INPUT_IMG}.mean": img_norm.mean, f"{INPUT_IMG}.std": img_norm.std}
    graph.initializer.extend(
        numpy_helper.from_array(np.array(values, np.float32).reshape(1, 3, 1, 1), name)
        for name, values in constants.items()
    )
    mean, std = constants
    made = [
        helper.make_node("Cast", [INPUT_IMG], [_CAST], name=_CAST, to=TensorProto.FLOAT),
        helper.make_node("Sub", [reshape.output[0], mean], [_CENTERED], name=_CENTERED),
        helper.make_node("Div", [_CENTERED, std], [_NORMALIZED], name=_NORMALIZED),
    ]
    place = list(graph.node).index(reshape)
    for node in reversed(made[1:]):
        graph.node.insert(place + 1, node)
    graph.node.insert(place, made[0])
    flat = (shape[0] * shape[1], *shape[2:])
    graph.value_info.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, size)
        for name, size in ((_CAST, shape), (_CENTERED, flat), (_NORMALIZED, flat))
    )


def takes_pixels(graph: onnx.GraphProto) -> bool:
    """Tell whether a graph takes its images as uint8."""
    return any(
        value.name == INPUT_IMG and value.type.tensor_type.elem_type == TensorProto.UINT8 for value in graph.input
    )


def file_takes_pixels(path: Path) -> bool:
    """Tell whether the graph in a file takes its images as uint8; weights in other files are not read."""
    return takes_pixels(onnx.load(str(path), load_external_data=False).graph)


def with_float_pixels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose ``img`` is float32, of pixels still, for a converter that casts what comes in by itself.

    Raises:
        ExportError: the images are read by something other than one Cast to float32.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    readers = [node for node in copy.graph.node if INPUT_IMG in node.input]
    if [node.op_type for node in readers] != ["Cast"]:
        raise ExportError(f"the graph's uint8 '{INPUT_IMG}' is not read by one Cast alone; export it again")
    cast = readers[0]
    for node in copy.graph.node:
        for place, name in enumerate(node.input):
            if name == cast.output[0]:
                node.input[place] = INPUT_IMG
    copy.graph.node.remove(cast)
    _input(copy.graph).type.tensor_type.elem_type = TensorProto.FLOAT
    return copy


def _input(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    img: onnx.ValueInfoProto = next(value for value in graph.input if value.name == INPUT_IMG)
    return img
