"""What a calibration set saw of the scenes: speeds, turns, light.

A quantiser takes the ranges of a network's tensors from the calibration set alone. Frames unlike any in it, such as a
night in a set of days or a bend in a set of straights, are where a quantised model fails first.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import CalibrationError, SceneError
from bevformer_lib.names import CAN_BUS_POSITION, CAN_BUS_YAW_DEG
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.scenes.ego import can_bus_delta
from bevformer_lib.scenes.types import Frame, ImageRef, Scene

_FRONT: Final = 0
_MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True)
class FrameCharacter:
    """What kind of moment a frame is; ``None`` where the scene does not say.

    Attributes:
        position: place in the scene, 0 for its first frame.
        ego_speed_mps: from the frame before; for a scene's first frame, to the one after.
        yaw_rate_dps: degrees per second, counter-clockwise, alike.
        brightness: mean gray level of the front camera's image without its padding, 0 to 255.
    """

    scene: str
    position: int
    ego_speed_mps: float | None
    yaw_rate_dps: float | None
    brightness: float | None


@dataclass(frozen=True)
class QuantityCoverage:
    """A quantity in the calibration set and in all frames.

    Attributes:
        calibration: one value per sample that has one.
        scenes: one value per frame that has one.
    """

    name: str
    unit: str
    calibration: tuple[float, ...]
    scenes: tuple[float, ...]

    @property
    def share_within(self) -> float | None:
        """Share of the frames whose value lies between the set's smallest and largest; ``None`` without values."""
        if not self.calibration or not self.scenes:
            return None
        values = np.array(self.scenes)
        return float(np.mean((values >= min(self.calibration)) & (values <= max(self.calibration))))


@dataclass(frozen=True)
class CalibrationCoverage:
    """A calibration set beside all frames that it could have been chosen from.

    Attributes:
        quantities: ego speed, yaw rate, brightness; one that no frame has is left out.
    """

    samples: int
    frames: int
    scenes_sampled: int
    scenes_total: int
    quantities: tuple[QuantityCoverage, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        content = dataclasses.asdict(self)
        for plain, quantity in zip(content["quantities"], self.quantities, strict=True):
            plain["share_within"] = quantity.share_within
        return content


def coverage_of(
    scenes: Sequence[Scene],
    samples: Collection[tuple[str, int]],
    *,
    on_progress: ProgressCallback = no_progress,
) -> CalibrationCoverage:
    """Compare the frames of a calibration set with all frames.

    Args:
        scenes: all scenes; without images (as ``read_metas`` gives them) there is no brightness.
        samples: scene name and position in the scene of each sample.
        on_progress: told the frames that were looked at.

    Raises:
        CalibrationError: a sample is none of the scenes' frames.
        SceneError: an image can't be decoded.
    """
    frames = characters_of(scenes, on_progress=on_progress)
    by_place = {(frame.scene, frame.position): frame for frame in frames}
    strangers = sorted(place for place in samples if place not in by_place)
    if strangers:
        name, position = strangers[0]
        raise CalibrationError(f"the calibration set holds frame {position} of {name}, which is not among the scenes")
    chosen = [by_place[place] for place in samples]
    quantities = (
        _quantity("Ego speed", "m/s", "ego_speed_mps", chosen, frames),
        _quantity("Yaw rate", "deg/s", "yaw_rate_dps", chosen, frames),
        _quantity("Brightness", "gray level", "brightness", chosen, frames),
    )
    return CalibrationCoverage(
        samples=len(chosen),
        frames=len(frames),
        scenes_sampled=len({frame.scene for frame in chosen}),
        scenes_total=len(scenes),
        quantities=tuple(quantity for quantity in quantities if quantity.scenes),
    )


def characters_of(
    scenes: Sequence[Scene], *, on_progress: ProgressCallback = no_progress
) -> tuple[FrameCharacter, ...]:
    """Return what kind of moment every frame is; images are decoded in parallel.

    Raises:
        SceneError: an image can't be decoded.
    """
    places = [(scene, position) for scene in scenes for position in range(len(scene.frames))]
    characters: list[FrameCharacter] = []
    pool = ThreadPoolExecutor()
    try:
        for character in pool.map(lambda place: _character(*place), places):
            characters.append(character)
            on_progress("looking at frames", len(characters), len(places))
    finally:
        pool.shutdown(cancel_futures=True)
    return tuple(characters)


def _character(scene: Scene, position: int) -> FrameCharacter:
    frames = scene.frames
    speed, yaw_rate = None, None
    if len(frames) > 1:
        before = max(0, position - 1)
        speed, yaw_rate = _motion(frames[before], frames[before + 1])
    images = frames[position].images
    brightness = _brightness(images[_FRONT]) if images else None
    return FrameCharacter(scene.name, position, speed, yaw_rate, brightness)


def _motion(before: Frame, after: Frame) -> tuple[float | None, float | None]:
    """Return speed (m/s) and yaw rate (deg/s) between two frames; ``None`` without timestamps."""
    if before.timestamp_us is None or after.timestamp_us is None or after.timestamp_us <= before.timestamp_us:
        return None, None
    seconds = (after.timestamp_us - before.timestamp_us) / _MICROSECONDS
    delta = can_bus_delta(after.can_bus_absolute, before.can_bus_absolute)
    return math.hypot(*delta[CAN_BUS_POSITION]) / seconds, float(delta[CAN_BUS_YAW_DEG]) / seconds


def _brightness(image: ImageRef) -> float:
    gray = cv2.imread(str(image.path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if gray is None:
        raise SceneError(f"{image.path}: can't be decoded")
    rows = slice(*(image.rows or (None,)))
    return float(_without_padding(np.asarray(gray[rows], dtype=np.uint8)).mean())


def _without_padding(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Drop rows and columns of one color at the bottom and right; an image of one color stays as it is."""
    image = gray != gray[-1, -1]
    if not image.any():
        return gray
    return gray[: int(np.flatnonzero(image.any(axis=1))[-1]) + 1, : int(np.flatnonzero(image.any(axis=0))[-1]) + 1]


def _quantity(
    name: str, unit: str, field: str, chosen: Sequence[FrameCharacter], frames: Sequence[FrameCharacter]
) -> QuantityCoverage:
    calibration, scenes = (
        tuple(value for frame in group if (value := getattr(frame, field)) is not None) for group in (chosen, frames)
    )
    return QuantityCoverage(name, unit, calibration, scenes)
