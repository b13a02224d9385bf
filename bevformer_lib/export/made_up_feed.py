"""Synthetic inputs to run a graph with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.errors import ExportError
from bevformer_lib.export.graph import graph_inputs, static_shape
from bevformer_lib.geometry.host import HostGeometry
from bevformer_lib.geometry.surround_cameras import surround_cameras
from bevformer_lib.names import CAN_BUS_SIZE, INPUT_CAN_BUS, INPUT_IMG, INPUT_LIDAR2IMG

_SEED: Final = 0


def made_up_feed(
    graph: onnx.GraphProto, host_geometry: HostGeometryConfig | None = None, *, seed: int = _SEED
) -> dict[str, NDArray[Any]]:
    """Return random values for every input of a graph, the same every time; zeros for integers, which may be indices.

    Eight bits without a sign are pixels.

    A BEVFormer's cameras are set up around the car: how much of the images the cells sample decides what sampling
    costs, and random matrices would point almost every cell outside.

    Args:
        graph: the graph.
        host_geometry: what the host needs to compute its geometry; ``None``: the graph computes it, if it has any.
        seed: of the values.

    Raises:
        ExportError: the shape of an input is not fixed.
    """
    generator = np.random.default_rng(seed)
    feed: dict[str, NDArray[Any]] = {}
    for value in graph_inputs(graph):
        shape = static_shape(value)
        if shape is None:
            raise ExportError(f"the shape of input {value.name!r} is not fixed; export the graph with static shapes")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if dtype == np.uint8:
            feed[value.name] = generator.integers(0, 256, shape, dtype)
        elif np.issubdtype(dtype, np.integer):
            feed[value.name] = np.zeros(shape, dtype)
        else:
            feed[value.name] = generator.standard_normal(shape).astype(dtype)
    if _has_cameras(feed):
        cameras, _, height, width = feed[INPUT_IMG].shape[1:]
        drawn = feed[INPUT_LIDAR2IMG]
        matrices = surround_cameras(cameras, (height, width)).astype(drawn.dtype)
        feed[INPUT_LIDAR2IMG] = np.broadcast_to(matrices, drawn.shape).copy()
    if host_geometry is not None:
        matrices = surround_cameras(host_geometry.num_cams, host_geometry.grid.image_hw).astype(np.float32)[None]
        frame = {INPUT_CAN_BUS: np.zeros((1, CAN_BUS_SIZE), np.float32), **feed, INPUT_LIDAR2IMG: matrices}
        computed = HostGeometry(host_geometry).inputs(frame)
        feed = {name: computed[name].astype(array.dtype, copy=False) for name, array in feed.items()}
    return feed


def _has_cameras(feed: Mapping[str, NDArray[Any]]) -> bool:
    """Whether the inputs are a BEVFormer's, images (B, N, 3, H, W) and matrices (B, N, 4, 4), not only so named."""
    if INPUT_IMG not in feed or INPUT_LIDAR2IMG not in feed:
        return False
    images, matrices = feed[INPUT_IMG], feed[INPUT_LIDAR2IMG]
    return (
        images.ndim == 5
        and images.size > 0
        and matrices.shape == (*images.shape[:2], 4, 4)
        and np.issubdtype(matrices.dtype, np.floating)
    )
