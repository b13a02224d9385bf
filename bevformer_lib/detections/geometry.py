"""Boxes in space: corners, and annotations in the form that detections have.

A detection's yaw is the original code's: it turns corners by ``-yaw`` about z, and the object faces its
local -y. So an object's heading (counter-clockwise about z from the x axis, as annotations give it) is
``-yaw - pi/2``; checked on real frames against drawn boxes and velocities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.scenes.types import GroundTruthBox

_LOCAL_CORNERS: Final = np.array(
    [
        [+0.5, -0.5, 0.0],
        [-0.5, -0.5, 0.0],
        [-0.5, +0.5, 0.0],
        [+0.5, +0.5, 0.0],
        [+0.5, -0.5, 1.0],
        [-0.5, -0.5, 1.0],
        [-0.5, +0.5, 1.0],
        [+0.5, +0.5, 1.0],
    ]
)
"""In units of (width, length, height), from the bottom centre; the object faces local -y, its left is +x."""

BOX_EDGES: Final = tuple(
    [(i, (i + 1) % 4) for i in range(4)] + [(4 + i, 4 + (i + 1) % 4) for i in range(4)] + [(i, i + 4) for i in range(4)]
)
"""The 12 edges of a box as pairs of corner numbers: bottom, top, uprights."""

FRONT_CORNERS: Final = (0, 1, 5, 4)
"""The face that the object drives towards, as a closed polygon."""


def box_corners_lidar_m(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """Return the corners of boxes.

    Args:
        boxes: (n, 9) as in ``Detections.boxes``.

    Returns:
        (n, 8, 3) metres in the LiDAR frame. 0..3 on the bottom: front left, front right, rear right, rear
        left, seen by the object's driver; 4..7 above them.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    local = _LOCAL_CORNERS * boxes[:, None, 3:6]
    cos, sin = np.cos(boxes[:, 6, None]), np.sin(boxes[:, 6, None])
    corners = np.stack(
        [
            cos * local[..., 0] + sin * local[..., 1],
            -sin * local[..., 0] + cos * local[..., 1],
            local[..., 2],
        ],
        axis=-1,
    )
    return np.asarray(corners + boxes[:, None, 0:3])


def heading_from_yaw_rad(yaw_rad: NDArray[Any]) -> NDArray[np.float64]:
    """Return the heading, counter-clockwise about z from the x axis, in [-pi, pi), of a detection's yaw.

    The relation is its own inverse: it turns a heading into a detection's yaw as well.
    """
    turned = -np.asarray(yaw_rad, dtype=np.float64) - np.pi / 2
    return np.asarray((turned + np.pi) % (2 * np.pi) - np.pi)


def ground_truth_as_detection_boxes(ground_truth: Sequence[GroundTruthBox]) -> NDArray[np.float32]:
    """Return annotations in the form of ``Detections.boxes``: (n, 9) float32, z at the bottom."""
    if not ground_truth:
        return np.zeros((0, 9), dtype=np.float32)
    centres = np.array([box.center_m for box in ground_truth], dtype=np.float64)
    sizes = np.array([box.size_wlh_m for box in ground_truth], dtype=np.float64)
    yaws = heading_from_yaw_rad(np.array([box.yaw_rad for box in ground_truth]))
    velocities = np.array([box.velocity_mps for box in ground_truth], dtype=np.float64)
    bottoms = centres[:, 2:3] - sizes[:, 2:3] / 2
    return np.concatenate([centres[:, :2], bottoms, sizes, yaws[:, None], velocities], axis=1).astype(np.float32)
