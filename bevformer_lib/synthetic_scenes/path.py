"""A smooth curve on the ground that gives a street its coordinates: arc length along it and offset to its left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SEARCH_STEP_M: Final = 1.0
_SEARCH_CHUNK: Final = 4096


@dataclass(frozen=True)
class Path:
    """A curve sampled by arc length; beyond its ends it goes on straight.

    Attributes:
        arc_m: (n,) float64, increasing.
        xy_m: (n, 2) float64, world frame.
        yaw_rad: (n,) float64, direction of the curve, not wrapped.
    """

    arc_m: NDArray[np.float64]
    xy_m: NDArray[np.float64]
    yaw_rad: NDArray[np.float64]

    def yaw_at(self, arc_m: float) -> float:
        """Return the direction of the curve at an arc length, rad."""
        return float(np.interp(arc_m, self.arc_m, self.yaw_rad))

    def point_at(self, arc_m: float, offset_m: float) -> tuple[float, float]:
        """Return the world position (x, y) at an arc length, ``offset_m`` to the left of the curve."""
        inside = min(max(arc_m, float(self.arc_m[0])), float(self.arc_m[-1]))
        yaw = self.yaw_at(inside)
        cos, sin, beyond = np.cos(yaw), np.sin(yaw), arc_m - inside
        x = np.interp(inside, self.arc_m, self.xy_m[:, 0]) + beyond * cos - offset_m * sin
        y = np.interp(inside, self.arc_m, self.xy_m[:, 1]) + beyond * sin + offset_m * cos
        return float(x), float(y)

    def coordinates_of(self, xy_m: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return arc length and left offset of world positions, by the nearest point of the curve.

        Args:
            xy_m: (n, 2) world positions.

        Returns:
            Two (n,) float64 arrays, m.
        """
        knots = self._knots_near(xy_m)
        arc, offset = np.empty(len(xy_m)), np.empty(len(xy_m))
        for start in range(0, len(xy_m), _SEARCH_CHUNK):
            part = slice(start, start + _SEARCH_CHUNK)
            squared = (xy_m[part, 0, None] - self.xy_m[knots, 0]) ** 2 + (
                xy_m[part, 1, None] - self.xy_m[knots, 1]
            ) ** 2
            nearest = knots[squared.argmin(axis=1)]
            delta = xy_m[part] - self.xy_m[nearest]
            cos, sin = np.cos(self.yaw_rad[nearest]), np.sin(self.yaw_rad[nearest])
            arc[part] = self.arc_m[nearest] + delta[:, 0] * cos + delta[:, 1] * sin
            offset[part] = delta[:, 1] * cos - delta[:, 0] * sin
        return arc, offset

    def _knots_near(self, xy_m: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return indices of sparse samples, leaving out those that can't be nearest to any of the positions."""
        step = max(1, round(_SEARCH_STEP_M / float(self.arc_m[1] - self.arc_m[0])))
        knots = np.arange(0, len(self.arc_m), step)
        middle = (xy_m.min(axis=0) + xy_m.max(axis=0)) / 2
        radius = np.linalg.norm(xy_m - middle, axis=1).max()
        distance = np.linalg.norm(self.xy_m[knots] - middle, axis=1)
        near: NDArray[np.intp] = knots[distance <= distance.min() + 2 * radius + step * _SEARCH_STEP_M]
        return near


def path_from_curvature(
    arc_m: NDArray[np.float64], curvature_per_m: NDArray[np.float64], *, start_yaw_rad: float
) -> Path:
    """Integrate curvature over arc length (midpoint rule), starting at the world's origin.

    Args:
        arc_m: (n,) evenly spaced arc lengths.
        curvature_per_m: (n,) curvature, positive to the left.
        start_yaw_rad: direction at the first sample.
    """
    step = np.diff(arc_m)
    turn = (curvature_per_m[1:] + curvature_per_m[:-1]) / 2 * step
    yaw = start_yaw_rad + np.concatenate([[0.0], np.cumsum(turn)])
    middle_yaw = (yaw[1:] + yaw[:-1]) / 2
    x = np.concatenate([[0.0], np.cumsum(step * np.cos(middle_yaw))])
    y = np.concatenate([[0.0], np.cumsum(step * np.sin(middle_yaw))])
    return Path(arc_m=arc_m, xy_m=np.stack([x, y], axis=1), yaw_rad=yaw)
