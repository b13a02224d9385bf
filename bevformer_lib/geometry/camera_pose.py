"""From a projection matrix to a camera that a viewer can place: pose and pinhole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PlacedCamera:
    """A camera in the LiDAR frame (x right, y forward, z up).

    Attributes:
        intrinsics: (3, 3) float64, upper triangular, pixels; the last entry is 1.
        rotation: (3, 3) float64; its columns are the camera's axes (x right, y down, z forward) in the LiDAR frame.
        position_m: (3,) float64, the camera's centre in the LiDAR frame.
    """

    intrinsics: NDArray[np.float64]
    rotation: NDArray[np.float64]
    position_m: NDArray[np.float64]


def placed_camera(lidar_to_image: NDArray[Any]) -> PlacedCamera:
    """Take a projection apart.

    With ``lidar_to_image = K [R | t]``, an RQ decomposition of its left 3 x 3 part gives K and R (Hartley and
    Zisserman, "Multiple View Geometry", section 6.2.4); the centre is the point that it maps to zero.

    Args:
        lidar_to_image: (4, 4) LiDAR frame (m) to homogeneous pixels (u * depth, v * depth, depth, 1).
    """
    projection = np.asarray(lidar_to_image, dtype=np.float64)[:3]
    left = projection[:, :3]
    flipped_q, flipped_r = np.linalg.qr(left[::-1].T)
    intrinsics, lidar_to_camera = flipped_r.T[::-1, ::-1], flipped_q.T[::-1]
    signs = np.sign(np.diag(intrinsics))
    intrinsics, lidar_to_camera = intrinsics * signs, lidar_to_camera * signs[:, None]
    return PlacedCamera(
        intrinsics=intrinsics / intrinsics[2, 2],
        rotation=lidar_to_camera.T,
        position_m=np.asarray(-np.linalg.solve(left, projection[:, 3]), dtype=np.float64),
    )
