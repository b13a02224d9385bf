"""Boxes from above: x to the right, y (forward) upwards, metres on the axes.

Seen from above, the scene is what a camera at infinite height sees, so the boxes are projected and clipped by the same
functions, with a matrix whose depth is 1 everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.detections.geometry import box_corners_lidar_m, heading_from_yaw_rad
from bevformer_lib.drawing.project import Segments, project_polygon, project_polygons, project_segments
from bevformer_lib.drawing.strokes import draw_polygon, draw_segments, fill_polygon, fixed_point, fixed_point_of_each
from bevformer_lib.drawing.style import (
    BACKGROUND,
    EGO,
    GRID,
    RING,
    SURFACE,
    TEXT,
    TEXT_FAINT,
    BoxLayer,
    Image,
    blank,
)
from bevformer_lib.drawing.text import SEMIBOLD, put_text, shortened

GRID_STEP_M: Final = 10.0
RING_STEP_M: Final = 20.0
TICK_STEP_M: Final = 20.0
HEADING_TICK_M: Final = 1.0
"""How far the heading tick reaches beyond the front of a box."""
VELOCITY_SECONDS: Final = 1.0
"""A velocity arrow is as long as the way of this time."""

EGO_FRONT_M, EGO_REAR_M, EGO_HALF_WIDTH_M = 2.48, -1.60, 0.865
"""Outline of nuScenes' car (Renault Zoe, 4.08 x 1.73 m) about its LiDAR, which stands 0.94 m ahead of the rear axle."""

_MARGIN_LEFT_PX, _MARGIN_RIGHT_PX, _MARGIN_TOP_PX, _MARGIN_BOTTOM_PX = 46, 14, 34, 40
_MIN_ARROW_PX: Final = 3.0
_ARROW_TIP: Final = 5.0
_FRONT_EDGE: Final = slice(0, 2)


@dataclass(frozen=True)
class _View:
    """The ground shown, in metres, and the pixels it takes."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    pixels_per_m: float

    @property
    def image_hw(self) -> tuple[int, int]:
        return (
            round((self.y_max - self.y_min) * self.pixels_per_m) + 1,
            round((self.x_max - self.x_min) * self.pixels_per_m) + 1,
        )

    @property
    def lidar_to_image(self) -> NDArray[np.float64]:
        scale = self.pixels_per_m
        return np.array(
            [
                [scale, 0.0, 0.0, -self.x_min * scale],
                [0.0, -scale, 0.0, self.y_max * scale],
                [0.0, 0.0, 0.0, 1.0],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )

    def lines(self, starts_xy_m: NDArray[Any], ends_xy_m: NDArray[Any]) -> NDArray[np.float64]:
        """Return (m, 2, 2) pixels of the parts in view of lines between (n, 2) points on the ground."""
        return project_segments(
            _on_ground(starts_xy_m), _on_ground(ends_xy_m), self.lidar_to_image, self.image_hw
        ).pixels

    def lines_of_each(self, starts_xy_m: NDArray[Any], ends_xy_m: NDArray[Any]) -> tuple[Segments, list[int]]:
        """Return the parts in view of lines between (count, n, 2) points, and where those of each object begin."""
        count, each = starts_xy_m.shape[:2]
        starts, ends = (_on_ground(points.reshape(-1, 2)) for points in (starts_xy_m, ends_xy_m))
        visible = project_segments(starts, ends, self.lidar_to_image, self.image_hw)
        return visible, visible.starts(count, each)

    def polygon(self, corners_xy_m: NDArray[Any]) -> NDArray[np.float64]:
        """Return (m, 2) pixels of the part in view of a polygon of (n, 2) points on the ground."""
        return project_polygon(_on_ground(corners_xy_m), self.lidar_to_image, self.image_hw)


def draw_birdseye(
    layers: Sequence[BoxLayer], *, pc_range: Sequence[float], size_wh: tuple[int, int], heading: str
) -> Image:
    """Draw boxes from above.

    The front edge of a solid box is thicker and carries a tick in the direction of its heading; the arrow from its
    centre is the way of ``VELOCITY_SECONDS`` at its velocity.

    Args:
        layers: boxes, drawn in this order.
        pc_range: x_min, y_min, z_min, x_max, y_max, z_max in metres, LiDAR frame; what is shown at least.
        size_wh: size of the result in pixels.
        heading: written above the view.
    """
    view = _fitted_view(pc_range, size_wh)
    height, width = view.image_hw
    left, top = _origin(view, size_wh)
    canvas = _empty_view(view, size_wh, heading).copy()
    for layer in layers:
        _draw_layer(canvas[top : top + height, left : left + width], view, layer)
    draw_polygon(
        canvas,
        np.array([[left, top], [left + width, top], [left + width, top + height], [left, top + height]]) - 0.5,
        RING,
    )
    return canvas


@lru_cache(maxsize=8)
def _empty_view(view: _View, size_wh: tuple[int, int], heading: str) -> Image:
    """Return grid, numbers and ego car, which all frames of a scene share; not to be written to."""
    canvas = blank(*size_wh)
    height, width = view.image_hw
    left, top = _origin(view, size_wh)
    ground = canvas[top : top + height, left : left + width]
    ground[:] = SURFACE
    _draw_grid(ground, view)
    _draw_ego(ground, view)
    _draw_axes(canvas, view, left, top)
    put_text(
        canvas,
        shortened(heading, size_wh[0] - left, 15, SEMIBOLD),
        (left, top / 2),
        size_px=15,
        color=TEXT,
        weight=SEMIBOLD,
    )
    canvas.flags.writeable = False
    return canvas


def _origin(view: _View, size_wh: tuple[int, int]) -> tuple[int, int]:
    """Return the column and the row at which the ground begins."""
    room_w = size_wh[0] - _MARGIN_LEFT_PX - _MARGIN_RIGHT_PX
    return _MARGIN_LEFT_PX + (room_w - view.image_hw[1]) // 2, _MARGIN_TOP_PX


def _fitted_view(pc_range: Sequence[float], size_wh: tuple[int, int]) -> _View:
    x_min, y_min, _, x_max, y_max, _ = pc_range
    room_w = size_wh[0] - _MARGIN_LEFT_PX - _MARGIN_RIGHT_PX - 1
    room_h = size_wh[1] - _MARGIN_TOP_PX - _MARGIN_BOTTOM_PX - 1
    return _View(x_min, y_min, x_max, y_max, min(room_w / (x_max - x_min), room_h / (y_max - y_min)))


def _draw_grid(ground: Image, view: _View) -> None:
    for x in _multiples(view.x_min, view.x_max, GRID_STEP_M):
        draw_segments(ground, view.lines(np.array([[x, view.y_min]]), np.array([[x, view.y_max]])), GRID)
    for y in _multiples(view.y_min, view.y_max, GRID_STEP_M):
        draw_segments(ground, view.lines(np.array([[view.x_min, y]]), np.array([[view.x_max, y]])), GRID)
    furthest_m = max(abs(view.x_min), abs(view.x_max), abs(view.y_min), abs(view.y_max))
    angles = np.linspace(0.0, 2 * math.pi, 181)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for radius_m in _multiples(RING_STEP_M, furthest_m, RING_STEP_M):
        draw_segments(ground, view.lines(circle[:-1] * radius_m, circle[1:] * radius_m), RING)


def _draw_ego(ground: Image, view: _View) -> None:
    half, nose = EGO_HALF_WIDTH_M, EGO_FRONT_M - 0.7
    outline = np.array(
        [
            [-half, EGO_REAR_M],
            [half, EGO_REAR_M],
            [half, nose],
            [half * 0.6, EGO_FRONT_M],
            [-half * 0.6, EGO_FRONT_M],
            [-half, nose],
        ]
    )
    fill_polygon(ground, view.polygon(outline), EGO)


def _draw_layer(ground: Image, view: _View, layer: BoxLayer) -> None:
    if not len(layer.boxes):
        return
    corners = box_corners_lidar_m(layer.boxes)[:, :4, :2]
    following = np.roll(corners, -1, axis=1)
    if layer.dashed:
        lines, starts = view.lines_of_each(corners, following)
        for color, (start, end) in zip(layer.colors, pairwise(starts), strict=True):
            draw_segments(ground, lines.pixels[start:end], color, 1, dashed=True)
        return
    heading_rad = heading_from_yaw_rad(layer.boxes[:, 6])
    ahead = np.stack([np.cos(heading_rad), np.sin(heading_rad)], axis=1)
    front = corners[:, _FRONT_EDGE]
    middle = front.mean(axis=1)
    tails, heads = _arrows(view, layer)
    thin, thin_starts = view.lines_of_each(
        np.concatenate([corners, middle[:, None], tails[:, None]], axis=1),
        np.concatenate([following, (middle + HEADING_TICK_M * ahead)[:, None], heads[:, None]], axis=1),
    )
    thick, thick_starts = view.lines_of_each(front[:, :1], front[:, 1:])
    faces = fixed_point_of_each(project_polygons(_on_ground(corners), view.lidar_to_image, view.image_hw))
    tips = _arrow_tips(thin)
    thin_lines, thick_lines = fixed_point(thin.pixels), fixed_point(thick.pixels)
    for index, color in enumerate(layer.colors):
        fill_polygon(ground, faces[index], color, 0.25)
        draw_segments(ground, thin_lines[thin_starts[index] : thin_starts[index + 1]], color, 1)
        draw_segments(ground, thick_lines[thick_starts[index] : thick_starts[index + 1]], color, 2)
        if index in tips:
            fill_polygon(ground, tips[index], color)


_THIN_LINES: Final = 6
"""Of a box from above: four sides, the tick, and the arrow as the last."""


def _arrows(view: _View, layer: BoxLayer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (n, 2) starts and ends on the ground; out of view where a dot would be all there is to see, or no end."""
    starts, ways = layer.boxes[:, :2], VELOCITY_SECONDS * layer.boxes[:, 7:9]
    with np.errstate(invalid="ignore"):
        shown = np.hypot(ways[:, :1], ways[:, 1:]) * view.pixels_per_m >= _MIN_ARROW_PX
    shown &= np.isfinite(ways).all(axis=1, keepdims=True)  # an annotation may have no velocity: NaN
    nowhere = np.full_like(starts, 2 * max(abs(view.x_min), abs(view.x_max)))
    return np.where(shown, starts, nowhere), np.where(shown, starts + np.where(shown, ways, 0.0), nowhere)


def _arrow_tips(visible: Segments) -> dict[int, NDArray[np.int32]]:
    """Return the triangles at the visible ends of the boxes' arrows, ready to be drawn, by the boxes' positions."""
    arrows = np.flatnonzero(visible.source % _THIN_LINES == _THIN_LINES - 1)
    ends = visible.pixels[arrows, 1]
    way = ends - visible.pixels[arrows, 0]
    length = np.hypot(way[:, :1], way[:, 1:])
    along = np.divide(way, length, out=np.zeros_like(way), where=length > 0.0)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    tip = np.minimum(_ARROW_TIP, length)
    triangles = np.stack([ends, ends - tip * (along + 0.5 * across), ends - tip * (along - 0.5 * across)], axis=1)
    return dict(zip((visible.source[arrows] // _THIN_LINES).tolist(), fixed_point(triangles), strict=True))


def _draw_axes(canvas: Image, view: _View, left: int, top: int) -> None:
    height, width = view.image_hw
    for x in _multiples(view.x_min, view.x_max, TICK_STEP_M):
        at = left + (x - view.x_min) * view.pixels_per_m
        put_text(canvas, f"{x:g}", (at, top + height + 11), size_px=12, color=TEXT_FAINT, align="center")
    for y in _multiples(view.y_min, view.y_max, TICK_STEP_M):
        at = top + (view.y_max - y) * view.pixels_per_m
        put_text(canvas, f"{y:g}", (left - 7, at), size_px=12, color=TEXT_FAINT, align="right")
    put_text(
        canvas,
        "x right, m",
        (left + width / 2, top + height + 28),
        size_px=12,
        color=TEXT_FAINT,
        align="center",
    )
    label = np.empty((width, 20, 3), dtype=np.uint8).transpose(1, 0, 2).copy()
    label[:] = BACKGROUND
    put_text(label, "y forward, m", (width / 2, 10), size_px=12, color=TEXT_FAINT, align="center")
    upright = cv2.rotate(label, cv2.ROTATE_90_COUNTERCLOCKWISE)
    shown = upright[:height] if height < width else upright
    start = top + (height - shown.shape[0]) // 2
    column = max(left - _MARGIN_LEFT_PX, 0)
    canvas[start : start + shown.shape[0], column : column + 20] = shown


def _multiples(low: float, high: float, step: float) -> list[float]:
    """Return the multiples of ``step`` within [low, high]."""
    return [float(k * step) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _on_ground(points_xy_m: NDArray[Any]) -> NDArray[np.float64]:
    points = np.asarray(points_xy_m, dtype=np.float64)
    return np.concatenate([points, np.zeros((*points.shape[:-1], 1))], axis=-1)
