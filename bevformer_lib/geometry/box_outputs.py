"""Joins the outputs that a graph gives of its boxes to the published code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.names import OUTPUT_OFFSETS, OUTPUT_REFERENCES, OUTPUT_SIZES, OUTPUT_VELOCITIES, OUTPUT_YAWS

BOX_OUTPUTS: Final = (OUTPUT_REFERENCES, OUTPUT_OFFSETS, OUTPUT_SIZES, OUTPUT_YAWS, OUTPUT_VELOCITIES)
"""What a graph gives of its boxes, in order."""


def join_boxes(
    outputs: Mapping[str, NDArray[np.float32]], box_range: tuple[float, float, float, float, float, float]
) -> NDArray[np.float32]:
    """Return ``outputs_coords`` (layers, 1, queries, code size): cx, cy, log w, log l, cz, log h, sin, cos, vx, vy.

    Args:
        outputs: ``outputs_references`` and ``outputs_offsets``, whose sum are the logits of the centre;
            ``outputs_sizes``, ``outputs_yaws``, ``outputs_velocities``.
        box_range: range of the detection head, m, LiDAR frame: minima of x, y, z, then maxima.
    """
    lowest, highest = np.array(box_range, dtype=np.float32).reshape(2, 3)
    logits = outputs[OUTPUT_REFERENCES].astype(np.float32) + outputs[OUTPUT_OFFSETS].astype(np.float32)
    # As the hyperbolic tangent: it overflows nowhere.
    center = (np.tanh(logits / 2) + 1) / 2 * (highest - lowest) + lowest
    size, yaw, velocity = (outputs[name].astype(np.float32) for name in (OUTPUT_SIZES, OUTPUT_YAWS, OUTPUT_VELOCITIES))
    parts = (center[..., :2], size[..., :2], center[..., 2:], size[..., 2:], yaw, velocity)
    return np.concatenate(parts, axis=-1)
