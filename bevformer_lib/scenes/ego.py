"""Ego motion as the network is fed it: from poses to `can_bus`, and from frame to frame.

Sources: `_get_can_bus_info` and `get_data_info` of the original BEVFormer for the 18 values; its `forward_test`
(`projects/mmdet3d_plugin/bevformer/detectors/bevformer.py`) for their changes, but for the yaw, whose difference is
taken on the circle here: 359 -> 1 degrees is +2, not -358. The rotation is the same; the -358 is far out of what
`can_bus` otherwise holds, and would widen the quantisation range of the whole input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.names import CAN_BUS_POSITION, CAN_BUS_SIZE, CAN_BUS_YAW_DEG, CAN_BUS_YAW_RAD

_ORIENTATION: Final = slice(3, 7)
_MOTION: Final = slice(7, 16)
_POSE_TOLERANCE: Final = 1e-3
"""Largest departure from a rotation that is rounding, half precision included."""


def is_pose(matrix: NDArray[np.float64]) -> bool:
    """Tell whether (4, 4) is a rotation and a translation."""
    turned = matrix[:3, :3]
    rigid = np.allclose(turned @ turned.T, np.eye(3), atol=_POSE_TOLERANCE) and np.linalg.det(turned) > 0.0
    return bool(rigid and np.allclose(matrix[3], (0.0, 0.0, 0.0, 1.0), atol=_POSE_TOLERANCE))


def can_bus_absolute(
    position_m: Sequence[float] | NDArray[Any],
    rotation: NDArray[np.float64],
    *,
    quaternion_w: float,
    motion: Sequence[float] | NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """Return the absolute form of a frame's ``can_bus``.

    The four values of the orientation all hold the quaternion's w, since the original assigns a quaternion object to
    four places at once, and the published checkpoints were trained so.

    Args:
        position_m: (3,) of the ego in the global frame.
        rotation: (3, 3), ego to global; its first column is where the car heads.
        quaternion_w: scalar part of the same rotation's quaternion, with its sign.
        motion: (9,) acceleration (m/s^2), rotation rate (rad/s) and velocity (m/s) along the car's own axes; ``None``:
            zeros, as the original has them for scenes without CAN data.

    Returns:
        (18,) float64.
    """
    yaw_rad = math.atan2(rotation[1, 0], rotation[0, 0]) % (2.0 * math.pi)
    can_bus = np.zeros(CAN_BUS_SIZE)
    can_bus[CAN_BUS_POSITION] = position_m
    can_bus[_ORIENTATION] = quaternion_w
    if motion is not None:
        can_bus[_MOTION] = motion
    can_bus[CAN_BUS_YAW_RAD] = yaw_rad
    can_bus[CAN_BUS_YAW_DEG] = math.degrees(yaw_rad)
    return can_bus


def can_bus_of_pose(ego_to_global: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (18,) float64, the absolute form of ``can_bus`` for a car that knows its pose and no more.

    Args:
        ego_to_global: (4, 4), metres. A matrix has lost the sign of its quaternion; w is taken as not negative.
    """
    rotation = ego_to_global[:3, :3]
    quaternion_w = math.sqrt(max(0.0, 1.0 + float(np.trace(rotation)))) / 2.0
    return can_bus_absolute(ego_to_global[:3, 3], rotation, quaternion_w=quaternion_w)


def can_bus_delta(
    current_absolute: NDArray[np.float64], previous_absolute: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return the delta form of a frame's ``can_bus``.

    Args:
        current_absolute: (18,) as recorded; positions in metres of the global frame.
        previous_absolute: (18,) of the frame before, or ``None`` for a scene's first frame.

    Returns:
        (18,) float64: position and yaw in degrees hold their change since the frame before, the yaw's in (-180, 180];
        both are zero for a scene's first frame. Everything else, the yaw in radians included, stays absolute. (Taken in
        float64: in float32, a position 2 km from the origin is known to 0.1 mm only.)
    """
    delta = np.array(current_absolute, dtype=np.float64)
    if previous_absolute is None:
        delta[CAN_BUS_POSITION] = 0.0
        delta[CAN_BUS_YAW_DEG] = 0.0
    else:
        delta[CAN_BUS_POSITION] -= previous_absolute[CAN_BUS_POSITION]
        delta[CAN_BUS_YAW_DEG] = _on_circle_deg(delta[CAN_BUS_YAW_DEG] - previous_absolute[CAN_BUS_YAW_DEG])
    return delta


def _on_circle_deg(angle_deg: np.float64) -> np.float64:
    """Return the same angle in (-180, 180]; one that lies there already is returned unchanged to the last bit."""
    return np.float64(angle_deg - 360.0 * np.ceil((angle_deg - 180.0) / 360.0))
