"""The ground: asphalt, lane markings, kerbs, pavements and grass, painted in world coordinates.

The paint is computed on three square maps around the car, finer near it. A map's texels lie on a fixed world grid, so
that the ground doesn't swim when the car moves; a map is computed anew when the car leaves the cell it was made for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.synthetic_scenes.mesh import Color
from bevformer_lib.synthetic_scenes.noise import hash_lattice, value_noise
from bevformer_lib.synthetic_scenes.path import Path

_ASPHALT: Final = (0.335, 0.33, 0.325)
_PAVEMENT: Final = (0.50, 0.53, 0.55)
_KERB: Final = (0.60, 0.62, 0.63)
_GRASS: Final = (0.17, 0.36, 0.29)
_DRY_GRASS: Final = (0.26, 0.44, 0.44)
_WHITE: Final = (0.86, 0.87, 0.87)
_YELLOW: Final = (0.20, 0.66, 0.84)

_LINE_M: Final = 0.14
_DASH_M: Final = 3.0
_DASH_PERIOD_M: Final = 9.0
_KERB_M: Final = 0.22
_SLAB_M: Final = 1.5
_JOINT_M: Final = 0.03
_ZEBRA_HALF_M: Final = 1.8
_ZEBRA_BAR_M: Final = 0.5
_STOP_LINE_M: Final = 0.45
_STOP_LINE_GAP_M: Final = 1.2


@dataclass(frozen=True)
class StreetProfile:
    """A street's cross-section; offsets are metres to the left of the ego car's path.

    Attributes:
        right_edge_m: right end of the asphalt (negative).
        left_edge_m: left end of the asphalt.
        lane_lines_m: dashed lines between lanes of the same direction.
        middle_line_m: the double line between the directions.
        parking_lines_m: solid lines beside parked cars.
        pavement_m: width of both pavements.
    """

    right_edge_m: float
    left_edge_m: float
    lane_lines_m: tuple[float, ...]
    middle_line_m: float
    parking_lines_m: tuple[float, ...]
    pavement_m: float


@dataclass(frozen=True)
class MapLevel:
    """One of the maps around the car.

    Attributes:
        texel_m: size of a texel.
        texels: width and height.
        snap_m: the map is made for a cell of this size; a multiple of ``texel_m``.
        coarse: the street's coordinates are computed for every so many texels and interpolated between.
        full_until_m: it is shown alone up to this distance (beyond the finer map's end).
        gone_at_m: the next coarser map is shown alone from this distance on.
    """

    texel_m: float
    texels: int
    snap_m: float
    coarse: int
    full_until_m: float
    gone_at_m: float


MAP_LEVELS: Final = (
    MapLevel(texel_m=0.03125, texels=896, snap_m=2.0, coarse=32, full_until_m=9.0, gone_at_m=12.5),
    MapLevel(texel_m=0.125, texels=768, snap_m=8.0, coarse=8, full_until_m=26.0, gone_at_m=42.0),
    MapLevel(texel_m=0.625, texels=640, snap_m=40.0, coarse=4, full_until_m=np.inf, gone_at_m=np.inf),
)


@dataclass(frozen=True)
class GroundMap:
    """A painted map.

    Attributes:
        bgr: (n, n, 3) uint8; column along world x, row along world y.
        origin_m: world (x, y) of the middle of texel (0, 0).
    """

    bgr: NDArray[np.uint8]
    origin_m: tuple[float, float]
    texel_m: float


class Ground:
    """The ground of one scene."""

    def __init__(self, path: Path, profile: StreetProfile, crosswalks_m: tuple[float, ...], seed: int) -> None:
        self._path = path
        self._profile = profile
        self._crosswalks_m = crosswalks_m
        self._seed = seed
        self._map = lru_cache(maxsize=len(MAP_LEVELS) + 1)(self._paint)

    def maps_around(self, xy_m: tuple[float, float]) -> tuple[GroundMap, ...]:
        """Return one map per level of :data:`MAP_LEVELS`, around a world position."""
        return tuple(
            self._map(level, round(xy_m[0] / detail.snap_m), round(xy_m[1] / detail.snap_m))
            for level, detail in enumerate(MAP_LEVELS)
        )

    def _paint(self, level: int, cell_x: int, cell_y: int) -> GroundMap:
        detail = MAP_LEVELS[level]
        from_middle = (np.arange(0.5, detail.texels, dtype=np.float64) - detail.texels / 2) * detail.texel_m
        x, y = cell_x * detail.snap_m + from_middle, cell_y * detail.snap_m + from_middle
        arc, offset = self._street_coordinates(x, y, detail.coarse)
        dryness = 0.5 + 0.35 * value_noise(x, y, 9.0, self._seed + 4) + 0.15 * value_noise(x, y, 2.1, self._seed + 5)
        painted = self._street(arc, offset, dryness, detail.texel_m)
        painted *= np.float32(255.0) * (1.0 + self._grain(x, y, detail.texel_m))
        bgr = cv2.convertScaleAbs(cv2.merge(list(painted)))
        return GroundMap(bgr.astype(np.uint8, copy=False), (float(x[0]), float(y[0])), detail.texel_m)

    def _street_coordinates(
        self, x_m: NDArray[np.float64], y_m: NDArray[np.float64], coarse: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return arc length and offset of every texel, (h, w) each, interpolated between exact ones."""
        size = len(x_m) // coarse + 1
        texel = float(x_m[1] - x_m[0])
        coarse_x = x_m[0] + np.arange(size) * coarse * texel
        coarse_y = y_m[0] + np.arange(size) * coarse * texel
        grid = np.stack(np.meshgrid(coarse_x, coarse_y), axis=-1).reshape(-1, 2)
        at = np.arange(len(x_m)) / coarse
        cell = at.astype(np.intp)
        weight = (at - cell).astype(np.float32)
        arc, offset = (
            _interpolated(values.reshape(size, size).astype(np.float32), cell, weight)
            for values in self._path.coordinates_of(grid)
        )
        return arc, offset

    def _street(
        self,
        arc: NDArray[np.float32],
        offset: NDArray[np.float32],
        dryness: NDArray[np.float32],
        texel_m: float,
    ) -> NDArray[np.float32]:
        """Return the paint (3, h, w) float32 BGR without grain."""
        profile = self._profile
        painted = np.empty((3, *arc.shape), dtype=np.float32)
        for channel in range(3):
            painted[channel] = _GRASS[channel] + dryness * (_DRY_GRASS[channel] - _GRASS[channel])
        right, left = profile.right_edge_m, profile.left_edge_m
        _lay(painted, _between(offset, right - profile.pavement_m, left + profile.pavement_m, texel_m), _PAVEMENT)
        joints = np.maximum(_every(arc, _SLAB_M, _JOINT_M, texel_m), _every(offset, _SLAB_M, _JOINT_M, texel_m))
        beside = 1.0 - _between(offset, right - _KERB_M, left + _KERB_M, texel_m)
        paved = _between(offset, right - profile.pavement_m, left + profile.pavement_m, texel_m)
        painted *= 1.0 - np.float32(0.28) * joints * beside * paved
        _lay(painted, _between(offset, right - _KERB_M, left + _KERB_M, texel_m), _KERB)
        _lay(painted, _between(offset, right, left, texel_m), _ASPHALT)
        self._markings(painted, arc, offset, texel_m)
        return painted

    def _markings(
        self,
        painted: NDArray[np.float32],
        arc: NDArray[np.float32],
        offset: NDArray[np.float32],
        texel_m: float,
    ) -> None:
        """Lay lane lines and zebra crossings; lines end before a crossing."""
        profile = self._profile
        clear = np.ones_like(arc)
        for crossing in self._crosswalks_m:
            reach = _ZEBRA_HALF_M + _STOP_LINE_GAP_M
            clear *= 1.0 - _between(arc, crossing - reach, crossing + reach, texel_m)
        dashes = _every(arc, _DASH_PERIOD_M, _DASH_M, texel_m)
        for line in profile.lane_lines_m:
            _lay(painted, _line(offset, line, texel_m) * dashes * clear, _WHITE)
        for line in profile.parking_lines_m:
            _lay(painted, _line(offset, line, texel_m) * clear, _WHITE)
        for side in (-_LINE_M, _LINE_M):
            _lay(painted, _line(offset, profile.middle_line_m + side, texel_m) * clear, _YELLOW)
        for crossing in self._crosswalks_m:
            zebra = _between(arc, crossing - _ZEBRA_HALF_M, crossing + _ZEBRA_HALF_M, texel_m)
            bars = _every(offset, 2 * _ZEBRA_BAR_M, _ZEBRA_BAR_M, texel_m)
            inside = _between(offset, profile.right_edge_m + 0.3, profile.left_edge_m - 0.3, texel_m)
            _lay(painted, zebra * bars * inside, _WHITE)
            stop = crossing - _ZEBRA_HALF_M - _STOP_LINE_GAP_M - _STOP_LINE_M
            ours = _between(offset, profile.right_edge_m + 2.2, profile.middle_line_m - 0.3, texel_m)
            _lay(painted, _between(arc, stop, stop + _STOP_LINE_M, texel_m) * ours, _WHITE)

    def _grain(self, x_m: NDArray[np.float64], y_m: NDArray[np.float64], texel_m: float) -> NDArray[np.float32]:
        """Return relative brightness changes: stains metres wide, patches, and the grain of the stones."""
        grain = 0.05 * value_noise(x_m, y_m, 6.0, self._seed) + 0.05 * value_noise(x_m, y_m, 1.3, self._seed + 1)
        if texel_m < 0.2:
            grain += 0.04 * value_noise(x_m, y_m, 0.27, self._seed + 2)
        columns = np.round(x_m / texel_m - 0.5).astype(np.int64)
        rows = np.round(y_m / texel_m - 0.5).astype(np.int64)
        contrast = 0.22 if texel_m < 0.1 else 0.10
        stones = hash_lattice(columns, rows, self._seed + 3) - np.float32(0.5)
        return np.asarray(grain + np.float32(contrast) * stones, dtype=np.float32)


def _interpolated(
    values: NDArray[np.float32], cell: NDArray[np.intp], weight: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Interpolate a square grid bilinearly at the same (cell, weight) positions along both axes."""
    by_row = values[cell] + (values[cell + 1] - values[cell]) * weight[:, None]
    left = by_row[:, cell]
    return np.asarray(left + (by_row[:, cell + 1] - left) * weight[None, :], dtype=np.float32)


_SPARSE: Final = 0.3
"""Where less of a map is covered, only that part is worked on."""


def _lay(painted: NDArray[np.float32], cover: NDArray[np.float32], color: Color) -> None:
    """Blend ``color`` onto the paint where ``cover`` (h, w) is above 0."""
    covered = np.flatnonzero(cover)
    if len(covered) < _SPARSE * cover.size:
        parts = cover.ravel()[covered]
        for channel in range(3):
            plane = painted[channel].reshape(-1)
            plane[covered] += parts * (np.float32(color[channel]) - plane[covered])
        return
    scratch = np.empty_like(cover)
    for channel in range(3):
        plane = painted[channel]
        np.subtract(np.float32(color[channel]), plane, out=scratch)
        scratch *= cover
        plane += scratch


def _between(values: NDArray[np.float32], low: float, high: float, texel_m: float) -> NDArray[np.float32]:
    """Return the share of each texel that lies between two values."""
    half = np.float32(texel_m / 2)
    upper = np.minimum(values + half, np.float32(high))
    lower = values - half
    np.maximum(lower, np.float32(low), out=lower)
    upper -= lower
    upper *= np.float32(1.0 / texel_m)
    return np.asarray(np.clip(upper, 0.0, 1.0, out=upper), dtype=np.float32)


def _line(offset: NDArray[np.float32], at_m: float, texel_m: float) -> NDArray[np.float32]:
    return _between(offset, at_m - _LINE_M / 2, at_m + _LINE_M / 2, texel_m)


def _every(values: NDArray[np.float32], period: float, width: float, texel_m: float) -> NDArray[np.float32]:
    """Return the share of each texel covered by stripes ``width`` wide, one in the middle of every ``period``."""
    phase = values - np.floor(values / np.float32(period)) * np.float32(period)
    return _between(phase, (period - width) / 2, (period + width) / 2, texel_m)
