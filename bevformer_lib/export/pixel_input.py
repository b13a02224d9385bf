"""A graph that takes camera pixels, and normalises them by itself.

img (float32) -> ...      =>      img (uint8) -> Cast -> Sub mean -> Div std -> ...

Sub and Div give float32 numbers that are those of :func:`bevformer_lib.scenes.preprocess.normalization_table` to the
last bit, so the boxes are those of images that the host has normalised.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.config.model_config import ImageNormConfig
from bevformer_lib.errors import ExportError
from bevformer_lib.export.graph import static_shape
from bevformer_lib.names import INPUT_IMG

_NORMALIZED: Final = f"{INPUT_IMG}.normalized"
_MEAN: Final = f"{INPUT_IMG}.mean"
_STD: Final = f"{INPUT_IMG}.std"


@dataclass(frozen=True)
class PixelNormalization:
    """What a graph does to the pixels that it takes, in the network's order of channels.

    Attributes:
        mean: per channel, float32.
        std: likewise.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    def apply(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Return (1, cameras, 3, H, W), normalised as the graph does it."""
        channels = (1, 1, 3, 1, 1)
        normalized: NDArray[np.float32] = pixels.astype(np.float32) - self.mean.reshape(channels)
        normalized /= self.std.reshape(channels)
        return normalized


def normalize_inside(graph: onnx.GraphProto, img_norm: ImageNormConfig) -> None:
    """Make a graph, in place, take ``img`` (1, cameras, 3, H, W) as uint8 in the network's order of channels.

    Raises:
        ExportError: the shape of the images is not fixed.
    """
    img = _img(graph)
    shape = None if img is None else static_shape(img)
    if img is None or shape is None:
        raise ExportError(f"the graph has no '{INPUT_IMG}' of a fixed shape; export it with static shapes")
    _rename_reads(graph, INPUT_IMG, _NORMALIZED)
    img.type.tensor_type.elem_type = TensorProto.UINT8
    for name, values in ((_MEAN, img_norm.mean), (_STD, img_norm.std)):
        channels = np.array(values, np.float32).reshape(1, 1, 3, 1, 1)
        graph.initializer.append(numpy_helper.from_array(channels, name))
    steps: tuple[tuple[str, list[str], str, dict[str, Any]], ...] = (
        ("Cast", [INPUT_IMG], f"{INPUT_IMG}.float", {"to": TensorProto.FLOAT}),
        ("Sub", [f"{INPUT_IMG}.float", _MEAN], f"{INPUT_IMG}.centered", {}),
        ("Div", [f"{INPUT_IMG}.centered", _STD], _NORMALIZED, {}),
    )
    for place, (operator, inputs, output, given) in enumerate(steps):
        graph.node.insert(place, helper.make_node(operator, inputs, [output], name=output, **given))
        graph.value_info.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))


def takes_pixels(graph: onnx.GraphProto) -> bool:
    """Tell whether a graph takes its images as uint8."""
    img = _img(graph)
    return img is not None and img.type.tensor_type.elem_type == TensorProto.UINT8


def file_takes_pixels(path: Path) -> bool:
    """Tell whether the graph in a file takes its images as uint8; weights in other files are not read."""
    return takes_pixels(onnx.load(str(path), load_external_data=False).graph)


def pixel_normalization(graph: onnx.GraphProto) -> PixelNormalization:
    """Return what :func:`normalize_inside` made a graph do.

    Raises:
        ExportError: the graph takes uint8, but normalises it in another way.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.name in (_MEAN, _STD)}
    if len(constants) < 2 or all(_NORMALIZED not in node.output for node in graph.node):
        raise ExportError(
            f"the graph takes '{INPUT_IMG}' as uint8 and does not say how it is normalised; export it with "
            "`bevformer export --input-dtype uint8`"
        )
    return PixelNormalization(*(numpy_helper.to_array(constants[name]).ravel() for name in (_MEAN, _STD)))


def without_normalization(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph for whoever feeds it normalised float32 images.

    It is the graph itself, or a copy with what :func:`normalize_inside` made undone.

    Raises:
        ExportError: the graph takes uint8, but normalises it in another way.
    """
    if not takes_pixels(model.graph):
        return model
    pixel_normalization(model.graph)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, made = copy.graph, {_NORMALIZED}
    for node in reversed(list(graph.node)):
        if made.intersection(node.output):
            made.update(node.input)
            graph.node.remove(node)
    _rename_reads(graph, _NORMALIZED, INPUT_IMG)
    for values in (graph.initializer, graph.value_info):
        for value in [value for value in values if value.name in made]:
            values.remove(value)
    img = _img(graph)
    assert img is not None  # noqa: S101 - it takes pixels
    img.type.tensor_type.elem_type = TensorProto.FLOAT
    return copy


def _img(graph: onnx.GraphProto) -> onnx.ValueInfoProto | None:
    return next((value for value in graph.input if value.name == INPUT_IMG), None)


def _rename_reads(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new
