"""Drawing quads into an image with a depth buffer, clipped at the near plane."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

NEAR_M: Final = 0.2
NOTHING: Final = -1
"""Face number of a sample that shows no face."""

_SHIFT_BITS: Final = 4
_LAYER_LIFT: Final = 2e-3
_MIN_EXTENT_PX: Final = 0.35


@dataclass(frozen=True)
class FaceBuffer:
    """What each sample of an image shows.

    Attributes:
        face: (h, w) int32 index of the nearest face, or :data:`NOTHING`.
        inverse_depth: (h, w) float32, 1/m; 0 where nothing is.
    """

    face: NDArray[np.int32]
    inverse_depth: NDArray[np.float32]


def draw_faces(
    quads_camera_m: NDArray[np.float64],
    layers: NDArray[np.int64],
    intrinsics: NDArray[np.float64],
    size_hw: tuple[int, int],
) -> FaceBuffer:
    """Draw all faces that look at the camera.

    Args:
        quads_camera_m: (n, 4, 3) corners in the camera frame, counter-clockwise as seen from outside.
        layers: (n,) a higher layer wins against a lower one at (nearly) the same depth.
        intrinsics: (3, 3), for an image of ``size_hw``.
        size_hw: height and width of the buffers.
    """
    buffer = FaceBuffer(np.full(size_hw, NOTHING, dtype=np.int32), np.zeros(size_hw, dtype=np.float32))
    normals = _normals(quads_camera_m)
    distance = np.einsum("ij,ij->i", normals, quads_camera_m[:, 0])
    chosen = np.flatnonzero((distance < 0.0) & _may_be_in_view(quads_camera_m, intrinsics, size_hw))
    if len(chosen) == 0:
        return buffer
    lift = 1.0 + _LAYER_LIFT * layers[chosen]
    planes = (normals[chosen] / distance[chosen, None]) @ np.linalg.inv(intrinsics) * lift[:, None]
    highest = lift / np.maximum(NEAR_M, quads_camera_m[chosen, :, 2].min(axis=1))
    scratch = np.empty(size_hw, dtype=np.uint8)
    columns, rows = np.arange(size_hw[1], dtype=np.float32), np.arange(size_hw[0], dtype=np.float32)
    for number, corners in _projected(quads_camera_m[chosen], intrinsics):
        window = _window(corners, size_hw)
        if window is None:
            continue
        left, top, right, bottom = window
        mask = scratch[: bottom - top, : right - left]
        mask.fill(0)
        fill_polygon(mask, corners - (left, top), 1)
        by_column, by_row, constant = planes[number].astype(np.float32)
        inverse_depth = np.add.outer(rows[top:bottom] * by_row, columns[left:right] * by_column + constant)
        np.minimum(inverse_depth, np.float32(highest[number]), out=inverse_depth)
        nearest = buffer.inverse_depth[top:bottom, left:right]
        wins = inverse_depth > nearest
        wins &= mask.view(np.bool_)
        np.copyto(nearest, inverse_depth, where=wins)
        np.copyto(buffer.face[top:bottom, left:right], np.int32(chosen[number]), where=wins)
    return buffer


def _projected(
    quads_camera_m: NDArray[np.float64], intrinsics: NDArray[np.float64]
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield the number and the pixel corners (m, 2) of every quad that has a part beyond the near plane."""
    pixels = quads_camera_m @ intrinsics.T
    whole = quads_camera_m[:, :, 2].min(axis=1) >= NEAR_M
    corners = pixels[:, :, :2] / np.maximum(pixels[:, :, 2:], NEAR_M)  # of those that lie wholly beyond it
    for number, is_whole in enumerate(whole.tolist()):
        if is_whole:
            yield number, corners[number]
        elif (clipped := project_clipped(quads_camera_m[number], intrinsics)) is not None:
            yield number, clipped


def _window(corners_px: NDArray[np.float64], size_hw: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Return (left, top, right, bottom) of the samples that a polygon may cover, or ``None`` where it is too thin."""
    u, v = corners_px[:, 0].tolist(), corners_px[:, 1].tolist()
    low_u, high_u, low_v, high_v = min(u), max(u), min(v), max(v)
    left, right = max(0, math.floor(low_u)), min(size_hw[1], math.ceil(high_u) + 1)
    top, bottom = max(0, math.floor(low_v)), min(size_hw[0], math.ceil(high_v) + 1)
    if left >= right or top >= bottom or min(high_u - low_u, high_v - low_v) < _MIN_EXTENT_PX:
        return None
    return left, top, right, bottom


def project_clipped(
    polygon_camera_m: NDArray[np.float64], intrinsics: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the (m, 2) pixel corners of a convex polygon's part beyond the near plane; ``None`` if there is none."""
    depth = polygon_camera_m[:, 2]
    if depth.min() < NEAR_M:
        polygon_camera_m = _clipped_near(polygon_camera_m)
        if len(polygon_camera_m) < 3:
            return None
    pixels = polygon_camera_m @ intrinsics.T
    return np.asarray(pixels[:, :2] / pixels[:, 2:])


def fill_polygon(mask: NDArray[np.uint8], corners_px: NDArray[np.float64], value: int) -> None:
    """Fill a convex polygon; corners are (m, 2) and may lie outside the mask."""
    fixed_point = np.rint(corners_px * (1 << _SHIFT_BITS)).astype(np.int32)
    cv2.fillConvexPoly(mask, fixed_point, value, cv2.LINE_8, _SHIFT_BITS)


def _normals(quads_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 3) outward normals, not scaled; from the diagonals, so that triangles have one too."""
    return np.cross(quads_m[:, 2] - quads_m[:, 0], quads_m[:, 3] - quads_m[:, 1])


def _may_be_in_view(
    quads_camera_m: NDArray[np.float64], intrinsics: NDArray[np.float64], size_hw: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return which quads aren't wholly behind the near plane or beyond one side of the image."""
    u, v, depth = np.moveaxis(quads_camera_m @ intrinsics.T, -1, 0)
    height, width = size_hw
    outside = [depth <= NEAR_M, u < 0.0, v < 0.0, u > width * depth, v > height * depth]
    return ~np.any([side.all(axis=1) for side in outside], axis=0)  # type: ignore[no-any-return]


def _clipped_near(polygon_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut a convex polygon off at the near plane (Sutherland and Hodgman)."""
    kept = []
    for start, end in zip(polygon_m, np.roll(polygon_m, -1, axis=0), strict=True):
        if start[2] >= NEAR_M:
            kept.append(start)
        if (start[2] >= NEAR_M) != (end[2] >= NEAR_M):
            kept.append(start + (end - start) * ((NEAR_M - start[2]) / (end[2] - start[2])))
    return np.array(kept).reshape(-1, 3)
