"""Ego motion between frames, as the network is fed it.

Source: `forward_test` of the original BEVFormer (`projects/mmdet3d_plugin/bevformer/detectors/bevformer.py`), but for
the yaw, whose difference is taken on the circle here: 359 -> 1 degrees is +2, not -358. The rotation is the same; the
-358 is far out of what `can_bus` otherwise holds, and would widen the quantisation range of the whole input.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.names import CAN_BUS_POSITION, CAN_BUS_YAW_DEG


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
