"""Detections, the unit that decoding, metrics, pictures and reports share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detections:
    """Boxes of one frame, best score first.

    Attributes:
        boxes: (n, 9) float32: x, y, z of the BOTTOM centre (m, LiDAR frame: x right, y forward, z up),
            width, length, height (m), yaw (rad; corners turn by -yaw counter-clockwise about z, as the
            original decodes it), vx, vy (m/s).
        scores: (n,) float32 in (0, 1).
        labels: (n,) int64, index into the class names.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
