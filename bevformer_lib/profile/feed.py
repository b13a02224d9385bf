"""Made-up inputs to run a graph with."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from bevformer_lib.errors import ExportError
from bevformer_lib.export.graph import graph_inputs, static_shape
from bevformer_lib.geometry.surround_rig import surround_cameras
from bevformer_lib.names import INPUT_IMG, INPUT_LIDAR2IMG

_SEED: Final = 0


def made_up_feed(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Return random values for every input of a graph, the same every time.

    A BEVFormer's cameras are set up around the car: how much of the pictures the cells sample decides what sampling
    costs, and random matrices would point almost every cell outside.

    Raises:
        ExportError: the shape of an input is not fixed.
    """
    generator = np.random.default_rng(_SEED)
    feed: dict[str, NDArray[Any]] = {}
    for value in graph_inputs(graph):
        shape = static_shape(value)
        if shape is None:
            raise ExportError(f"the shape of input {value.name!r} is not fixed; export the graph with static shapes")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        feed[value.name] = generator.standard_normal(shape).astype(dtype)
    if INPUT_IMG in feed and INPUT_LIDAR2IMG in feed:
        cameras, _, height, width = feed[INPUT_IMG].shape[1:]
        matrices = surround_cameras(cameras, (height, width))
        feed[INPUT_LIDAR2IMG] = matrices.astype(np.float32).reshape(feed[INPUT_LIDAR2IMG].shape)
    return feed
