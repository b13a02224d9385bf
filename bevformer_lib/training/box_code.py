"""Boxes as the detection head puts them out: cx, cy, log w, log l, cz, log h, sin, cos, vx, vy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.detections.geometry import ground_truth_as_detection_boxes
from bevformer_lib.scenes.types import GroundTruthBox

CODE_SIZE: Final = 10
CENTER: Final = (0, 1, 4)
"""Places of x, y and z of the gravity centre, m."""
VELOCITY: Final = slice(8, 10)


def encode_boxes(boxes: Sequence[GroundTruthBox]) -> NDArray[np.float32]:
    """Return annotations as (n, 10) float32 codes: metres in the LiDAR frame, the original's yaw."""
    x, y, bottom, width, length, height, yaw, vx, vy = ground_truth_as_detection_boxes(boxes).T
    logs = np.log(np.stack([width, length, height])) if len(boxes) else np.zeros((3, 0), np.float32)
    code = [x, y, logs[0], logs[1], bottom + height / 2, logs[2], np.sin(yaw), np.cos(yaw), vx, vy]
    return np.stack(code, axis=1).astype(np.float32)
