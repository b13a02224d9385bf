"""Small frames to draw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.detections.types import Detections
from bevformer_lib.drawing.style import Image
from tests.support.scenes import surround_lidar_to_image

GRAY = 90


def gray_images(num_cams: int, image_hw: tuple[int, int]) -> list[Image]:
    """Gray images whose last row differs, so that none of it counts as padding."""
    images = [np.full((*image_hw, 3), GRAY, np.uint8) for _ in range(num_cams)]
    for image in images:
        image[-1, ::2] = GRAY + 1
    return images


def camera_calibration(num_cams: int, image_hw: tuple[int, int]) -> NDArray[np.float64]:
    return surround_lidar_to_image(image_hw, num_cams)


def detections(*boxes: tuple[float, ...], labels: tuple[int, ...] = ()) -> Detections:
    """Boxes of nine values; scores fall from 0.9."""
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(count, 9),
        np.linspace(0.9, 0.5, count, dtype=np.float32),
        np.array(labels or (0,) * count, np.int64),
    )


CAR_AHEAD = (0.0, 12.0, -1.8, 1.9, 4.6, 1.7, float(np.pi), 0.0, 6.0)
"""Drives away from the ego car: its front is its far face."""
