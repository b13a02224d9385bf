"""Anti-aliased lines and faces at fractions of a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, cast

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
        segments: (n, 2, 2) pixels (x, y) of both ends, or what :func:`fixed_point` made of them where not dashed.
        color: of the lines.
        thickness: in pixels.
        dashed: broken lines.
    """
    pieces = _fixed(_dashes(segments) if dashed else segments)
    if len(pieces):
        cv2.polylines(canvas, cast("Any", pieces), False, color, thickness, cv2.LINE_AA, _FRACTION_BITS)


def draw_polygon(
    canvas: Image, corners: NDArray[Any], color: Color, thickness: int = 1, *, dashed: bool = False
) -> None:
    """Draw the outline of a polygon of (n, 2) pixels (x, y)."""
    draw_segments(canvas, np.stack([corners, np.roll(corners, -1, axis=0)], axis=1), color, thickness, dashed=dashed)


def fill_polygon(canvas: Image, corners: NDArray[Any], color: Color, opacity: float = 1.0) -> None:
    """Fill a convex polygon of (n, 2) pixels (x, y), or of what :func:`fixed_point` made of them; n < 3: nothing."""
    if len(corners) < 3:
        return
    height, width = canvas.shape[:2]
    fixed = _fixed(corners)
    columns, rows = fixed.T.tolist()
    one = 1 << _FRACTION_BITS
    x0, y0 = min(max(min(columns) // one, 0), width), min(max(min(rows) // one, 0), height)
    x1, y1 = min(max(1 - -max(columns) // one, 0), width), min(max(1 - -max(rows) // one, 0), height)
    if x0 >= x1 or y0 >= y1:
        return
    if opacity == 1.0:
        cv2.fillConvexPoly(canvas, fixed, color, cv2.LINE_AA, _FRACTION_BITS)
        return
    region = canvas[y0:y1, x0:x1]
    painted = region.copy()
    fixed = fixed - np.array([x0 * one, y0 * one], dtype=np.int32)
    cv2.fillConvexPoly(painted, fixed, color, cv2.LINE_AA, _FRACTION_BITS)
    cv2.addWeighted(painted, opacity, region, 1.0 - opacity, 0.0, dst=region)


def fixed_point(pixels: NDArray[Any]) -> NDArray[np.int32]:
    """Return pixels in the unit that lines and faces are drawn in; worth doing once for many that are drawn apart."""
    fixed: NDArray[np.int32] = np.rint(np.asarray(pixels) * (1 << _FRACTION_BITS)).astype(np.int32)
    return fixed


def fixed_point_of_each(arrays: Sequence[NDArray[Any]]) -> list[NDArray[np.int32]]:
    """Return :func:`fixed_point` of each of some arrays, whose shapes differ in their first number alone."""
    if not arrays:
        return []
    fixed, ends = fixed_point(np.concatenate(arrays)), [0, *accumulate(map(len, arrays))]
    return [fixed[start:end] for start, end in pairwise(ends)]


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


def _fixed(pixels: NDArray[Any]) -> NDArray[np.int32]:
    return pixels if pixels.dtype == np.int32 else fixed_point(pixels)
