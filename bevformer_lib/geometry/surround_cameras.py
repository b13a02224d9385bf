"""A synthetic camera calibration of cameras that see every direction, as a car has it."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

_CAMERA_YAW_DEG: Final = (0.0, -55.0, 55.0, 180.0, 110.0, -110.0)
"""Viewing directions in the order of ``names.CAMERA_ORDER``, counter-clockwise from forward."""
_FOCAL_IN_WIDTHS: Final = (0.79, 0.79, 0.79, 0.51, 0.79, 0.79)
"""Focal length over image width: 1266 / 1600 pixels, but 809 / 1600 for the wide camera at the back."""
_CAMERA_RADIUS_M: Final = 1.0
_CAMERA_HEIGHT_M: Final = -0.3
"""Above the LiDAR; the nuScenes cameras stand a little below it."""


def surround_cameras(num_cams: int, image_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Return cameras around a car, (cameras, 4, 4): LiDAR frame (m) to homogeneous pixels.

    Up to six stand as on the nuScenes car; more are spread evenly.

    Args:
        num_cams: how many.
        image_hw: size of their images in pixels.
    """
    height, width = image_hw
    mountings = list(zip(_CAMERA_YAW_DEG, _FOCAL_IN_WIDTHS, strict=True))[:num_cams]
    if num_cams > len(mountings):
        mountings = [(camera * 360.0 / num_cams, _FOCAL_IN_WIDTHS[0]) for camera in range(num_cams)]
    matrices = []
    for yaw_deg, focal_in_widths in mountings:
        intrinsics = np.eye(4)
        intrinsics[0, 0] = intrinsics[1, 1] = focal_in_widths * width
        intrinsics[0, 2], intrinsics[1, 2] = width / 2, height / 2
        matrices.append(intrinsics @ _lidar_to_camera(math.radians(yaw_deg)))
    return np.stack(matrices)


def _lidar_to_camera(yaw_rad: float) -> NDArray[np.float64]:
    """LiDAR (x right, y forward, z up) to camera (x right, y down, z ahead), both in metres."""
    ahead = np.array([-math.sin(yaw_rad), math.cos(yaw_rad), 0.0])
    right = np.array([math.cos(yaw_rad), math.sin(yaw_rad), 0.0])
    rotation = np.stack([right, [0.0, 0.0, -1.0], ahead])
    position = _CAMERA_RADIUS_M * ahead + [0.0, 0.0, _CAMERA_HEIGHT_M]
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = rotation, -rotation @ position
    return transform
