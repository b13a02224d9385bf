"""Boxes from above: x to the right, y (forward) upwards, metres on the axes.

Seen from above, the scene is what a camera at infinite height sees, so the boxes are projected and clipped by the same
functions, with a matrix whose depth is 1 everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.detections.geometry import box_corners_lidar_m, heading_from_yaw_rad
from bevformer_lib.drawing.project import project_polygon, project_segments
from bevformer_lib.drawing.strokes import draw_polygon, draw_segments, fill_polygon
from bevformer_lib.drawing.style import (
    BACKGROUND,
    EGO,
    GRID,
    RING,
    SURFACE,
    TEXT,
    TEXT_FAINT,
    BoxLayer,
    Color,
    Image,
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
    canvas = np.empty((size_wh[1], size_wh[0], 3), dtype=np.uint8)
    canvas[:] = BACKGROUND
    view = _fitted_view(pc_range, size_wh)
    height, width = view.image_hw
    left = _MARGIN_LEFT_PX + (size_wh[0] - _MARGIN_LEFT_PX - _MARGIN_RIGHT_PX - width) // 2
    top = _MARGIN_TOP_PX
    ground = canvas[top : top + height, left : left + width]
    ground[:] = SURFACE
    _draw_grid(ground, view)
    _draw_ego(ground, view)
    for layer in layers:
        _draw_layer(ground, view, layer)
    _draw_axes(canvas, view, left, top)
    put_text(
        canvas,
        shortened(heading, size_wh[0] - left, 15, SEMIBOLD),
        (left, top / 2),
        size_px=15,
        color=TEXT,
        weight=SEMIBOLD,
    )
    return canvas


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
    corners = box_corners_lidar_m(layer.boxes)[:, :4, :2]
    heading_rad = heading_from_yaw_rad(layer.boxes[:, 6])
    ahead = np.stack([np.cos(heading_rad), np.sin(heading_rad)], axis=1)
    for index in range(len(layer.boxes)):
        color, outline = layer.colors[index], corners[index]
        draw_segments(ground, view.lines(outline, np.roll(outline, -1, axis=0)), color, 1, dashed=layer.dashed)
        if layer.dashed:
            continue
        fill_polygon(ground, view.polygon(outline), color, 0.25)
        front = outline[_FRONT_EDGE]
        draw_segments(ground, view.lines(front[:1], front[1:]), color, 2)
        middle = front.mean(axis=0, keepdims=True)
        draw_segments(ground, view.lines(middle, middle + HEADING_TICK_M * ahead[index]), color, 1)
        center, velocity = layer.boxes[index, :2], layer.boxes[index, 7:9]
        _draw_arrow(ground, view, center, center + VELOCITY_SECONDS * velocity, color)


def _draw_arrow(ground: Image, view: _View, start_m: NDArray[Any], end_m: NDArray[Any], color: Color) -> None:
    """Draw an arrow on the ground; none where its end is not known (NaN) or a dot would be all there is to see."""
    if not np.isfinite(end_m).all():
        return
    visible = view.lines(start_m[None], end_m[None])
    if not len(visible):
        return
    (start, end) = visible[0]
    length = float(np.hypot(*(end - start)))
    if length < _MIN_ARROW_PX:
        return
    along = (end - start) / length
    across = np.array([-along[1], along[0]])
    tip = min(_ARROW_TIP, length)
    draw_segments(ground, visible, color, 1)
    fill_polygon(
        ground,
        np.array([end, end - tip * (along + 0.5 * across), end - tip * (along - 0.5 * across)]),
        color,
    )


def _draw_axes(canvas: Image, view: _View, left: int, top: int) -> None:
    height, width = view.image_hw
    draw_polygon(
        canvas,
        np.array([[left, top], [left + width, top], [left + width, top + height], [left, top + height]]) - 0.5,
        RING,
    )
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
    return np.concatenate([points, np.zeros((len(points), 1))], axis=1)
