"""Images scaled to the size that a model takes, and the projections that belong to them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.scenes.layout import padded_hw


def scaled_hw(height: int, width: int, scale: float) -> tuple[int, int]:
    """Return (height, width) of an image that is scaled, as the original rounds them."""
    return int(height * scale), int(width * scale)


def scaled_image(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Return a (h, w, 3) image scaled as the original does it.

    Scaled in float32, since OpenCV's 8-bit scaling rounds its weights too.
    """
    if scale == 1.0:
        return image
    height, width = scaled_hw(image.shape[0], image.shape[1], scale)
    resized = cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.rint(resized), np.uint8)


def scaled_projections(lidar_to_image: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Return projections for images resized by ``scale``; padding at the bottom and right changes nothing."""
    return np.asarray(np.diag((scale, scale, 1.0, 1.0)) @ lidar_to_image)


def scale_to(height: int, width: int, image_hw: tuple[int, int]) -> float | None:
    """Return the factor that brings images to a model's width; 1: they fit as they are, ``None``: none is.

    An image fits that has the padded size, or one that padding to multiples of 32 brings there. None is enlarged.
    """
    if image_hw in ((height, width), padded_hw(height, width)):
        return 1.0
    scale = image_hw[1] / width
    return scale if scale < 1.0 and padded_hw(*scaled_hw(height, width, scale)) == image_hw else None
