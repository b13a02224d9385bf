"""The sky and what stands on the horizon: a panorama per scene, looked up by direction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.synthetic_scenes.mesh import Color
from bevformer_lib.synthetic_scenes.noise import hash_lattice, value_noise

PANORAMA_WIDTH: Final = 2880
PIXELS_PER_RAD: Final = PANORAMA_WIDTH / (2 * math.pi)
MAX_ELEVATION_RAD: Final = math.radians(40)

_CLOUD_OCTAVES: Final = ((1.6, 0.5), (0.7, 0.28), (0.3, 0.15), (0.12, 0.07))
_CLOUD_LIGHT: Final = 0.93
_SKYLINE_STEP_RAD: Final = math.radians(1.5)


@dataclass(frozen=True)
class Weather:
    """Light and air of a scene.

    Attributes:
        sun_azimuth_rad: direction of the sun, counter-clockwise from the world's x axis.
        sun_elevation_rad: its height above the horizon.
        sun_strength: brightness that the sun adds on what faces it.
        ambient: brightness in the shade.
        zenith: BGR of the sky above.
        haze: BGR of the sky at the horizon and of what is far away.
        haze_distance_m: at this distance 63 % of an object's colour is haze.
        cloudiness: 0 (clear) to 1 (overcast).
        noise: factor of the cameras' noise, which grows with their gain.
        rain: 0 (none) to 1: streaks in the images.
        headlights: brightness that the ego car's headlights add on what they meet near the car.
    """

    sun_azimuth_rad: float
    sun_elevation_rad: float
    sun_strength: float
    ambient: float
    zenith: Color
    haze: Color
    haze_distance_m: float
    cloudiness: float
    noise: float = 1.0
    rain: float = 0.0
    headlights: float = 0.0

    @property
    def to_sun(self) -> NDArray[np.float64]:
        """(3,) unit vector towards the sun, world frame."""
        level = math.cos(self.sun_elevation_rad)
        return np.array(
            [
                level * math.cos(self.sun_azimuth_rad),
                level * math.sin(self.sun_azimuth_rad),
                math.sin(self.sun_elevation_rad),
            ]
        )


def panorama(weather: Weather, seed: int) -> NDArray[np.uint8]:
    """Return the sky as (rows, :data:`PANORAMA_WIDTH`, 3) uint8 BGR.

    Column: azimuth from 0 to 2 pi. Row: elevation from 0 to :data:`MAX_ELEVATION_RAD`.
    """
    rows = round(MAX_ELEVATION_RAD * PIXELS_PER_RAD)
    azimuth = np.arange(0.5, PANORAMA_WIDTH, dtype=np.float64) / PIXELS_PER_RAD
    elevation = np.arange(0.5, rows, dtype=np.float64)[:, None] / PIXELS_PER_RAD
    rise = np.sqrt(np.sin(elevation) / math.sin(MAX_ELEVATION_RAD))
    haze, zenith = np.array(weather.haze), np.array(weather.zenith)
    sky = haze + (zenith - haze) * rise[:, :, None] + np.zeros((rows, PANORAMA_WIDTH, 1))
    clouds = _clouds(weather, azimuth, elevation, seed)[:, :, None]
    sky += clouds * (_CLOUD_LIGHT * np.clip(haze / 0.8, 0.0, 1.0) * np.array([1.0, 0.99, 0.98]) - sky)
    skyline = _skyline_rad(seed)[None, :]
    behind_haze = haze * np.array([0.885, 0.875, 0.865])
    sky = np.where((elevation < skyline)[:, :, None], behind_haze, sky)
    return np.asarray(np.clip(sky * 255.0, 0, 255), dtype=np.uint8)


def sky_in_view(
    sky: NDArray[np.uint8], azimuth_px: NDArray[np.float32], elevation_px: NDArray[np.float32], yaw_rad: float
) -> NDArray[np.uint8]:
    """Look the sky up.

    Args:
        sky: from :func:`panorama`.
        azimuth_px: (h, w) azimuth of each pixel's ray in the ego frame, in columns of the panorama.
        elevation_px: (h, w) elevation, in its rows.
        yaw_rad: heading of the car.

    Returns:
        (h, w, 3) uint8 BGR.
    """
    columns = np.mod(azimuth_px + np.float32(yaw_rad * PIXELS_PER_RAD), np.float32(PANORAMA_WIDTH))
    return cv2.remap(  # type: ignore[return-value]
        sky, columns, elevation_px, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _clouds(
    weather: Weather, azimuth: NDArray[np.float64], elevation: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Return cloud cover (rows, columns) in [0, 1]: noise stretched along the horizon, the same at both ends."""
    cover = np.zeros((len(elevation), len(azimuth)))
    height = np.log1p(4.0 * elevation[:, 0]) * 2.0
    seam = np.clip((azimuth - (2 * math.pi - 0.6)) / 0.6, 0.0, 1.0)
    for octave, (cell, strength) in enumerate(_CLOUD_OCTAVES):
        here = value_noise(azimuth, height, cell / 2, seed + 20 + octave)
        before = value_noise(azimuth - 2 * math.pi, height, cell / 2, seed + 20 + octave)
        cover += strength * (here + (before - here) * seam)
    threshold = 0.55 - 1.1 * weather.cloudiness
    thickness = np.clip((cover - threshold) / 0.55, 0.0, 1.0)
    return np.asarray(thickness * np.clip(elevation / 0.12, 0.25, 1.0) * 0.85)


def _skyline_rad(seed: int) -> NDArray[np.float64]:
    """Return the elevation of far roofs and hills per column of the panorama."""
    blocks = int(2 * math.pi / _SKYLINE_STEP_RAD)
    heights = hash_lattice(np.arange(blocks), np.arange(1), seed + 40)[0]
    roofs = np.radians(1.2 + 3.2 * heights.astype(np.float64) ** 2)
    column = np.arange(PANORAMA_WIDTH) * blocks // PANORAMA_WIDTH
    return np.asarray(roofs[column])
