"""Straight lines and flat faces in space to what a camera sees of them, clipped exactly.

Clipping happens before the division by depth, in homogeneous pixels (u * depth, v * depth, depth), where the near
plane and the four borders of the image are all linear: a line that starts behind the camera is cut where it enters
the view, so a box beside or around the camera keeps every part that is in sight and nothing is mirrored to the front.
The method is Cyrus and Beck's for lines ("Generalized two- and three-dimensional clipping", 1978) and Sutherland and
Hodgman's for polygons ("Reentrant polygon clipping", 1974).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

NEAR_PLANE_M: Final = 0.1
"""Depth in front of a camera at which lines are cut."""


@dataclass(frozen=True)
class Segments:
    """What is visible of some lines.

    Attributes:
        pixels: (m, 2, 2) float64, (x, y) of both ends, inside the image.
        source: (m,) which of the given lines each one is a part of; ascending.
    """

    pixels: NDArray[np.float64]
    source: NDArray[np.int64]

    def starts(self, count: int, lines_each: int) -> list[int]:
        """Return where the parts of each of ``count`` objects begin, that have ``lines_each`` of the given lines.

        One more number than objects: the last is where all of them end.
        """
        starts: list[int] = np.searchsorted(self.source, np.arange(count + 1) * lines_each).tolist()
        return starts


def homogeneous_pixels(points_lidar_m: NDArray[Any], lidar_to_image: NDArray[Any]) -> NDArray[np.float64]:
    """Return (..., 3) float64 (u * depth, v * depth, depth) of (..., 3) points; depth in metres.

    Args:
        points_lidar_m: (..., 3) in the LiDAR frame.
        lidar_to_image: (4, 4) of one camera; its third row gives the depth.
    """
    matrix = np.asarray(lidar_to_image, dtype=np.float64)
    points = np.asarray(points_lidar_m, dtype=np.float64)
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def project_segments(
    starts_lidar_m: NDArray[Any],
    ends_lidar_m: NDArray[Any],
    lidar_to_image: NDArray[Any],
    image_hw: tuple[int, int],
) -> Segments:
    """Project lines between points, cut at the near plane and at the border of the image.

    Args:
        starts_lidar_m: (n, 3) in the LiDAR frame.
        ends_lidar_m: (n, 3).
        lidar_to_image: (4, 4) of the camera, for an image of ``image_hw``.
        image_hw: height and width of the image in pixels; its border runs through the outermost pixel centres.
    """
    starts = homogeneous_pixels(starts_lidar_m, lidar_to_image)
    ends = homogeneous_pixels(ends_lidar_m, lidar_to_image)
    inside_start, inside_end = (_signed_distances(points, image_hw) for points in (starts, ends))

    change = inside_end - inside_start
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = -inside_start / change
    enter = np.where(inside_start < 0, crossing, 0.0).max(axis=1)
    leave = np.where(inside_end < 0, crossing, 1.0).min(axis=1)
    hidden = ((inside_start < 0) & (inside_end < 0)).any(axis=1)
    seen = np.flatnonzero(~hidden & (enter <= leave))

    direction = ends[seen] - starts[seen]
    cut = starts[seen, None] + np.stack([enter[seen], leave[seen]], axis=1)[..., None] * direction[:, None]
    return Segments(pixels=_pixels(cut, image_hw), source=seen)


def project_polygon(
    corners_lidar_m: NDArray[Any], lidar_to_image: NDArray[Any], image_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Project a flat convex polygon, cut at the near plane and at the border of the image.

    Args:
        corners_lidar_m: (n, 3) in the LiDAR frame, in order around the polygon.
        lidar_to_image: (4, 4) of the camera, for an image of ``image_hw``.
        image_hw: height and width of the image in pixels.

    Returns:
        (m, 2) float64 pixels (x, y) in order around what is visible; m is 0 where nothing is.
    """
    polygon = homogeneous_pixels(corners_lidar_m, lidar_to_image)
    for plane in range(_NUM_PLANES):
        if not len(polygon):
            break
        inside = _signed_distances(polygon, image_hw)[:, plane]
        kept = []
        for i, j in zip(range(len(polygon)), (*range(1, len(polygon)), 0), strict=True):
            if inside[i] >= 0:
                kept.append(polygon[i])
            if (inside[i] >= 0) != (inside[j] >= 0):
                part = inside[i] / (inside[i] - inside[j])
                kept.append(polygon[i] + part * (polygon[j] - polygon[i]))
        polygon = np.array(kept).reshape(-1, 3)
    return _pixels(polygon, image_hw)


def project_polygons(
    corners_lidar_m: NDArray[Any], lidar_to_image: NDArray[Any], image_hw: tuple[int, int]
) -> list[NDArray[np.float64]]:
    """Return what :func:`project_polygon` does of each of (count, n, 3) polygons; only those at a border are cut."""
    points = homogeneous_pixels(corners_lidar_m, lidar_to_image)
    inside = _signed_distances(points.reshape(-1, 3), image_hw).reshape(*points.shape[:2], _NUM_PLANES) >= 0
    whole = np.asarray(inside.all(axis=(1, 2)))
    hidden = np.asarray(~np.asarray(inside.any(axis=1))).any(axis=1)
    found: list[NDArray[np.float64]] = [np.zeros((0, 2))] * len(points)
    for index, pixels in zip(np.flatnonzero(whole).tolist(), _pixels(points[whole], image_hw), strict=True):
        found[index] = pixels
    for index in np.flatnonzero(~whole & ~hidden).tolist():
        found[index] = project_polygon(corners_lidar_m[index], lidar_to_image, image_hw)
    return found


def resized(lidar_to_image: NDArray[Any], scale_xy: tuple[float, float]) -> NDArray[np.float64]:
    """Return (4, 4) ``lidar_to_image`` for the same image, resized by (x, y) factors."""
    scaled = np.array(lidar_to_image, dtype=np.float64)
    scaled[0] *= scale_xy[0]
    scaled[1] *= scale_xy[1]
    return scaled


_NUM_PLANES = 5


def _signed_distances(points: NDArray[np.float64], image_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Return (n, 5), not negative inside: near plane, left, right, top and bottom border."""
    u, v, depth = points[:, 0], points[:, 1], points[:, 2]
    right, bottom = image_hw[1] - 1, image_hw[0] - 1
    return np.stack([depth - NEAR_PLANE_M, u, right * depth - u, v, bottom * depth - v], axis=1)


def _pixels(points: NDArray[np.float64], image_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Divide by depth; the last rounding errors of the cut are taken off."""
    border = np.array([image_hw[1] - 1, image_hw[0] - 1], dtype=np.float64)
    return np.asarray(np.clip(points[..., :2] / points[..., 2:], 0.0, border))
