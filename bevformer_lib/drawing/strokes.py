"""Anti-aliased lines and faces at fractions of a pixel."""

from __future__ import annotations

import math
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.drawing.style import Color, Image

_FRACTION_BITS: Final = 4
DASH_PX: Final = 6.0
GAP_PX: Final = 4.0


def draw_segments(
    canvas: Image, segments: NDArray[Any], color: Color, thickness: int = 1, *, dashed: bool = False
) -> None:
    """Draw straight lines.

    Args:
        canvas: changed in place.
        segments: (n, 2, 2) pixels (x, y) of both ends.
        color: of the lines.
        thickness: in pixels.
        dashed: broken lines.
    """
    pieces = _dashes(segments) if dashed else np.asarray(segments)
    if len(pieces):
        cv2.polylines(canvas, list(_fixed_point(pieces)), False, color, thickness, cv2.LINE_AA, _FRACTION_BITS)


def draw_polygon(
    canvas: Image, corners: NDArray[Any], color: Color, thickness: int = 1, *, dashed: bool = False
) -> None:
    """Draw the outline of a polygon of (n, 2) pixels (x, y)."""
    draw_segments(canvas, np.stack([corners, np.roll(corners, -1, axis=0)], axis=1), color, thickness, dashed=dashed)


def fill_polygon(canvas: Image, corners: NDArray[Any], color: Color, opacity: float = 1.0) -> None:
    """Fill a convex polygon of (n, 2) pixels (x, y); nothing for fewer than three corners."""
    if len(corners) < 3:
        return
    height, width = canvas.shape[:2]
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    x0, y0 = min(max(math.floor(left), 0), width), min(max(math.floor(top), 0), height)
    x1, y1 = min(max(math.ceil(right) + 1, 0), width), min(max(math.ceil(bottom) + 1, 0), height)
    if x0 >= x1 or y0 >= y1:
        return
    if opacity == 1.0:
        cv2.fillConvexPoly(canvas, _fixed_point(corners), color, cv2.LINE_AA, _FRACTION_BITS)
        return
    region = canvas[y0:y1, x0:x1]
    painted = region.copy()
    cv2.fillConvexPoly(painted, _fixed_point(corners - (x0, y0)), color, cv2.LINE_AA, _FRACTION_BITS)
    cv2.addWeighted(painted, opacity, region, 1.0 - opacity, 0.0, dst=region)


def _dashes(segments: NDArray[Any]) -> NDArray[np.float64]:
    """Cut (n, 2, 2) lines into dashes; a short line keeps its first dash."""
    lines = np.asarray(segments, dtype=np.float64).reshape(-1, 2, 2)
    way = lines[:, 1] - lines[:, 0]
    length = np.hypot(way[:, 0], way[:, 1])
    counts = np.ceil(length / (DASH_PX + GAP_PX)).astype(np.int64)
    line = np.repeat(np.arange(len(lines)), counts)
    begins = (np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)) * (DASH_PX + GAP_PX)
    reach = np.stack([begins, np.minimum(begins + DASH_PX, length[line])], axis=1) / length[line, None]
    return np.asarray(lines[line, :1] + reach[..., None] * way[line, None])


def _fixed_point(pixels: NDArray[Any]) -> NDArray[np.int32]:
    fixed: NDArray[np.int32] = np.rint(np.asarray(pixels) * (1 << _FRACTION_BITS)).astype(np.int32)
    return fixed
