"""Anti-aliased lines and faces at fractions of a pixel."""

from __future__ import annotations

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
    x0, y0 = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, (width, height))
    x1, y1 = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 1, 0, (width, height))
    if x0 >= x1 or y0 >= y1:
        return
    region = canvas[y0:y1, x0:x1]
    painted = region.copy()
    cv2.fillConvexPoly(painted, _fixed_point(corners - (x0, y0)), color, cv2.LINE_AA, _FRACTION_BITS)
    cv2.addWeighted(painted, opacity, region, 1.0 - opacity, 0.0, dst=region)


def _dashes(segments: NDArray[Any]) -> NDArray[np.float64]:
    """Cut (n, 2, 2) lines into dashes; a short line keeps its first dash."""
    pieces: list[NDArray[np.float64]] = [np.zeros((0, 2, 2))]
    for start, end in np.asarray(segments, dtype=np.float64):
        length = float(np.hypot(*(end - start)))
        if length == 0.0:
            continue
        begins = np.arange(0.0, length, DASH_PX + GAP_PX)
        reach = np.stack([begins, np.minimum(begins + DASH_PX, length)], axis=1) / length
        pieces.append(start + reach[..., None] * (end - start))
    return np.concatenate(pieces)


def _fixed_point(pixels: NDArray[Any]) -> NDArray[np.int32]:
    return np.asarray(np.round(np.asarray(pixels) * (1 << _FRACTION_BITS)), dtype=np.int32)
