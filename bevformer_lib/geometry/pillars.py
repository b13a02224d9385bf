"""The pillars over the BEV cells, and which cameras see them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.model_config import ModelConfig

MIN_DEPTH_M: Final = 1e-5
"""A point nearer to the image plane than this (or behind it) is not seen."""


def pillar_points_lidar_m(config: ModelConfig) -> NDArray[np.float32]:
    """Return the homogeneous anchors (4, cells * anchors) in the LiDAR frame, m.

    Cell centres span the range evenly; the heights run linearly from 0.5 m above its bottom to 0.5 m below its
    top (BEVFormer, section 3.3, and the original's ``get_reference_points``).
    """
    x_min, y_min, z_min, x_max, y_max, z_max = config.encoder.pc_range
    height_m = z_max - z_min
    x = x_min + (np.arange(config.bev_w) + 0.5) / config.bev_w * (x_max - x_min)
    y = y_min + (np.arange(config.bev_h) + 0.5) / config.bev_h * (y_max - y_min)
    z = z_min + np.linspace(0.5, height_m - 0.5, config.encoder.pillar_points)
    rows, columns, heights = np.meshgrid(y, x, z, indexing="ij")
    points = np.stack([columns, rows, heights, np.ones_like(rows)])
    return points.reshape(4, -1).astype(np.float32)


def cameras_per_cell(config: ModelConfig, lidar_to_image: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return how many cameras see each BEV cell, (cells,), for a rig ``lidar_to_image`` (cameras, 4, 4).

    A camera sees a cell when one of its anchors has a depth above ``MIN_DEPTH_M`` and lies strictly inside the padded
    picture: the model's own rule.
    """
    height, width = config.image_hw
    projected = lidar_to_image.astype(np.float32)[:, :3] @ pillar_points_lidar_m(config)
    depth = projected[:, 2]
    u, v = (projected[:, axis] / np.maximum(depth, MIN_DEPTH_M) for axis in (0, 1))
    inside = (depth > MIN_DEPTH_M) & (u > 0) & (u < width) & (v > 0) & (v < height)
    sees = inside.reshape(len(projected), config.num_bev_cells, config.encoder.pillar_points).any(axis=2)
    counts: NDArray[np.int64] = sees.sum(axis=0)
    return counts
