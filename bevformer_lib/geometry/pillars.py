"""The pillars over the BEV cells, and which cameras see them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.camera_capacity import PillarGrid

MIN_DEPTH_M: Final = 1e-5
"""A point nearer to the image plane than this (or behind it) is not seen."""

CALIBRATION_MARGIN: Final = 0.02
"""Part of the image by which a camera calibration may differ from the calibrations that a capacity was derived from.

Cameras turn by tenths of a degree between calibrations, and the ego motion between a camera's shot and the LiDAR's
moves near points by some pixels; 2 % are 1.3 degrees of a nuScenes camera.
"""


def pillar_points_lidar_m(grid: PillarGrid) -> NDArray[np.float32]:
    """Return the homogeneous anchors (4, cells * anchors) in the LiDAR frame, m.

    Cell centres span the range evenly; the heights run linearly from 0.5 m above its bottom to 0.5 m below its
    top (BEVFormer, section 3.3, and the original's ``get_reference_points``).
    """
    x_min, y_min, z_min, x_max, y_max, z_max = grid.pc_range
    height_m = z_max - z_min
    x = x_min + (np.arange(grid.bev_w) + 0.5) / grid.bev_w * (x_max - x_min)
    y = y_min + (np.arange(grid.bev_h) + 0.5) / grid.bev_h * (y_max - y_min)
    z = z_min + np.linspace(0.5, height_m - 0.5, grid.pillar_points)
    rows, columns, heights = np.meshgrid(y, x, z, indexing="ij")
    points = np.stack([columns, rows, heights, np.ones_like(rows)])
    return points.reshape(4, -1).astype(np.float32)


def cameras_per_query(
    grid: PillarGrid,
    lidar_to_image: NDArray[np.floating],
    *,
    margin: float = 0.0,
    points: NDArray[np.float32] | None = None,
) -> NDArray[np.int64]:
    """Return how many cameras see each BEV cell, (cells,).

    A camera sees a cell when one of its anchors has a depth above ``MIN_DEPTH_M`` and lies strictly inside the padded
    image: the model's own rule.

    Args:
        grid: the pillars.
        lidar_to_image: (cameras, 4, 4); LiDAR frame (m) to homogeneous pixels of the padded image.
        margin: widens the image on every side by this part of its size.
        points: what :func:`pillar_points_lidar_m` gives for ``grid``, for callers that ask often.
    """
    height, width = grid.image_hw
    anchors = pillar_points_lidar_m(grid) if points is None else points
    counts = np.zeros(grid.bev_h * grid.bev_w, dtype=np.int64)
    for u, v, depth in lidar_to_image[:, :3].astype(np.float64):
        # Inside is on the right side of five planes; as products with the depth, nothing is divided by one near zero.
        planes = [depth - (0.0, 0.0, 0.0, MIN_DEPTH_M)]
        for position, size in ((u, width), (v, height)):
            planes += [position + margin * size * depth, (1 + margin) * size * depth - position]
        inside = (np.stack(planes).astype(np.float32) @ anchors).min(axis=0) > 0
        counts += inside.reshape(-1, grid.pillar_points).any(axis=1)
    return counts


def needed_cameras_per_query(
    grid: PillarGrid, camera_calibrations: Iterable[NDArray[np.floating]], *, margin: float = CALIBRATION_MARGIN
) -> int:
    """Return the capacity that every cell of every camera calibration fits into, at least 1.

    Args:
        grid: the pillars.
        camera_calibrations: (cameras, 4, 4) each: the calibrations of the frames that a model is meant for; repeated
            ones cost nothing.
        margin: see :data:`CALIBRATION_MARGIN`.
    """
    points = pillar_points_lidar_m(grid)
    distinct = {camera_calibration.tobytes(): camera_calibration for camera_calibration in camera_calibrations}
    return (
        max(
            (
                int(cameras_per_query(grid, camera_calibration, margin=margin, points=points).max())
                for camera_calibration in distinct.values()
            ),
            default=1,
        )
        or 1
    )
