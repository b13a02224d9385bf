"""What both models still find when one camera shows nothing.

A lost camera gives a black image: 0 in every channel before normalisation, as from a camera without power or an encoder
without input, in every frame of the scenes. Nobody tells the model: its projection stays valid, and the six images stay
six. Feeding the mean colour, or no valid projection, would be what a host does that has noticed; that is milder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import ConfigError
from bevformer_lib.geometry.pillars import MIN_DEPTH_M
from bevformer_lib.metrics.metric_types import DetectionMetrics
from bevformer_lib.names import CAMERA_ORDER
from bevformer_lib.scenes.types import Frame, Scene

ALL_CAMERAS: Final = "all"
"""Each camera in turn."""


@dataclass(frozen=True)
class LostCamera:
    """Metrics of both models without one camera.

    Attributes:
        objects: annotated objects whose centre it shows, over all frames.
        alone: those of them whose centre no other camera shows.
        reference: of the float model.
        candidate: of the compiled one.
    """

    camera: str
    objects: int
    alone: int
    reference: DetectionMetrics
    candidate: DetectionMetrics


def cameras_to_drop(asked: str | None, num_cams: int) -> tuple[str, ...]:
    """Return the names of the cameras that are dropped, one after the other.

    Args:
        asked: a camera's name, ``all``, or ``None`` for none.
        num_cams: cameras of the model.

    Raises:
        ConfigError: the model has no such camera.
    """
    names = CAMERA_ORDER[:num_cams]
    if asked is None:
        return ()
    if asked == ALL_CAMERAS:
        return names
    if asked not in names:
        raise ConfigError(f"the model has no camera {asked!r}; name one of {', '.join(names)}, or {ALL_CAMERAS}")
    return (asked,)


def objects_shown(scenes: Sequence[Scene], camera: str, image_hw: tuple[int, int]) -> tuple[int, int]:
    """Return how many annotated objects a camera shows the centre of, and how many of them no other camera does.

    Args:
        scenes: with annotations in some frames; images are not needed.
        camera: its name.
        image_hw: height and width of the images, pixels.
    """
    number = CAMERA_ORDER.index(camera)
    shown = [_shown(frame, image_hw) for scene in scenes for frame in scene.frames if frame.gt_boxes]
    objects = sum(int(one[number].sum()) for one in shown)
    return objects, sum(int((one[number] & (one.sum(axis=0) == 1)).sum()) for one in shown)


def _shown(frame: Frame, image_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return (cameras, objects): whether the centre lies in the image."""
    centers = np.array([(*box.center_m, 1.0) for box in frame.gt_boxes or ()])
    u, v, depth, _ = np.moveaxis(frame.lidar_to_image @ centers.T, 1, 0)
    safe = np.maximum(depth, MIN_DEPTH_M)
    inside: NDArray[np.bool_] = (
        (depth > MIN_DEPTH_M) & (u >= 0) & (u < safe * image_hw[1]) & (v >= 0) & (v < safe * image_hw[0])
    )
    return inside
