"""What a camera adds to the light that reaches it: exposure, darker corners, noise."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

_NOISE_LEVELS: Final = 1.4
_NOISE_MARGIN_PX: Final = 61
_EXPOSURE_SPREAD: Final = 0.035
_EXPOSURE_DRIFT: Final = 0.015
_CORNER_LOSS: Final = 0.10
_STREAKS: Final = 260


class Sensor:
    """The six cameras' common electronics; the same seed gives the same images."""

    def __init__(self, image_hw: tuple[int, int], seed: int, *, noise: float = 1.0, rain: float = 0.0) -> None:
        height, width = image_hw
        self._seed = seed
        rng = np.random.default_rng([seed, 1])
        noise_shape = (height + _NOISE_MARGIN_PX, width + _NOISE_MARGIN_PX, 3)
        self._noise = rng.standard_normal(noise_shape, dtype=np.float32) * np.float32(_NOISE_LEVELS * noise)
        self._rain = rain
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
        if self._rain:
            _add_streaks(stored, of_frame, self._rain)
        return np.clip(np.rint(stored), 0, 255).astype(np.uint8)


def _add_streaks(image: NDArray[np.float32], rng: np.random.Generator, rain: float) -> None:
    """Draw falling drops as short bright lines, all leaning alike, into an image (H, W, 3), 0..255."""
    height, width = image.shape[:2]
    streaks = np.zeros((height, width), dtype=np.uint8)
    lean = rng.uniform(-0.25, 0.25)
    for _ in range(round(_STREAKS * rain)):
        u, v = rng.uniform(0.0, width), rng.uniform(-0.05, 1.0) * height
        length = rng.uniform(0.02, 0.07) * height
        ends = np.rint(np.array([[u, v], [u + lean * length, v + length]]) * 16).astype(np.int32)
        cv2.line(streaks, ends[0].tolist(), ends[1].tolist(), int(rng.integers(30, 90)), 1, cv2.LINE_AA, 4)
    cover = streaks.astype(np.float32)[:, :, None] / np.float32(255.0)
    image += cover * (np.float32(190.0) - image)
