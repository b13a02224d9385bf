"""A synthetic clip for the parity check: six cameras on a car that drives a curve.

Everything follows from the seed. The images are smooth noise of whole
gray levels, which pixels hold too: a wrong sampling position shows, a difference in its
last bit does not. The cameras stand as on the nuScenes car, so that every direction is seen. The car moves several
metres and turns several degrees per frame, so that the shift and the rotation of the history matter.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.geometry.surround_cameras import surround_cameras
from bevformer_lib.names import CAN_BUS_SIZE, CAN_BUS_YAW_DEG, CAN_BUS_YAW_RAD
from bevformer_lib.scenes.types import FrameInputs

CLIP_FRAMES: Final = 3
"""One without history, one whose history is the first, one whose history is a frame with history."""

_SPEED_M: Final = 4.0
"""Driven per frame."""
_TURN_DEG: Final = 9.0
"""Turned per frame."""
_FIRST_YAW_DEG: Final = 200.0

_COARSE_CELLS: Final = 12
"""The noise is drawn at so many values along the longer side and interpolated."""


def clip_frame(config: ModelConfig, index: int, *, seed: int) -> FrameInputs:
    """Return one frame of the clip; ``can_bus`` is in delta form.

    Args:
        config: gives the number of cameras, the image size and the pixel normalisation.
        index: number of the frame; 0 has no predecessor.
        seed: draws the images and the small entries of ``can_bus``.
    """
    generator = np.random.default_rng((seed, index))
    return FrameInputs(
        img=_images(config, generator),
        can_bus=_can_bus(index, generator),
        lidar2img=surround_cameras(config.num_cams, config.image_hw).astype(np.float32)[None],
    )


def _images(config: ModelConfig, generator: np.random.Generator) -> NDArray[np.float32]:
    height, width = config.image_hw
    scale = _COARSE_CELLS / max(height, width)
    coarse_hw = (max(2, round(height * scale)), max(2, round(width * scale)))
    images = np.empty((1, config.num_cams, 3, height, width), dtype=np.float32)
    for camera in range(config.num_cams):
        coarse = generator.uniform(0, 255, (*coarse_hw, 3)).astype(np.float32)
        smooth = np.rint(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))
        normalised = (smooth - np.asarray(config.img_norm.mean)) / np.asarray(config.img_norm.std)
        images[0, camera] = normalised.transpose(2, 0, 1)
    return images


def _can_bus(index: int, generator: np.random.Generator) -> NDArray[np.float32]:
    yaw_deg = (_FIRST_YAW_DEG + index * _TURN_DEG) % 360.0
    yaw_rad = math.radians(yaw_deg)
    can_bus = np.zeros(CAN_BUS_SIZE, dtype=np.float64)
    if index > 0:
        can_bus[0:2] = _SPEED_M * math.cos(yaw_rad), _SPEED_M * math.sin(yaw_rad)
        can_bus[CAN_BUS_YAW_DEG] = _TURN_DEG
    can_bus[3:7] = math.cos(yaw_rad / 2)
    can_bus[7:16] = generator.normal(0.0, 0.5, 9)
    can_bus[CAN_BUS_YAW_RAD] = yaw_rad
    return can_bus.astype(np.float32)[None]
