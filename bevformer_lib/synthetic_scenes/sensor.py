"""What a camera adds to the light that reaches it: exposure, darker corners, noise."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_NOISE_LEVELS: Final = 1.4
_NOISE_MARGIN_PX: Final = 61
_EXPOSURE_SPREAD: Final = 0.035
_EXPOSURE_DRIFT: Final = 0.015
_CORNER_LOSS: Final = 0.10


class Sensor:
    """The six cameras' common electronics; the same seed gives the same images."""

    def __init__(self, image_hw: tuple[int, int], seed: int) -> None:
        height, width = image_hw
        self._seed = seed
        rng = np.random.default_rng([seed, 1])
        noise_shape = (height + _NOISE_MARGIN_PX, width + _NOISE_MARGIN_PX, 3)
        self._noise = rng.standard_normal(noise_shape, dtype=np.float32) * np.float32(_NOISE_LEVELS)
        y = (np.arange(height, dtype=np.float32)[:, None] / (height - 1) - 0.5) * 2
        x = (np.arange(width, dtype=np.float32)[None, :] / (width - 1) - 0.5) * 2
        self._falloff = (1.0 - np.float32(_CORNER_LOSS) * ((x * x + y * y) / 2) ** 2)[:, :, None]

    def expose(self, image: NDArray[np.float32], *, camera_number: int, frame_number: int) -> NDArray[np.uint8]:
        """Return the (H, W, 3) image, 0..255, as the camera stores it."""
        height, width = image.shape[:2]
        of_camera = np.random.default_rng([self._seed, 2, camera_number]).standard_normal()
        of_frame = np.random.default_rng([self._seed, 3, camera_number, frame_number])
        gain = 1.0 + _EXPOSURE_SPREAD * of_camera + _EXPOSURE_DRIFT * of_frame.standard_normal()
        top, left = of_frame.integers(_NOISE_MARGIN_PX, size=2)
        noise = self._noise[top : top + height, left : left + width]
        stored = image * (self._falloff * np.float32(gain)) + noise
        return np.clip(np.rint(stored), 0, 255).astype(np.uint8)
