"""One image of a whole frame: title, cameras, bird's-eye view, legend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.detections.types import Detections
from bevformer_lib.drawing.birdseye import GRID_STEP_M, RING_STEP_M, VELOCITY_SECONDS, draw_birdseye
from bevformer_lib.drawing.cameras import GAP_PX, draw_cameras
from bevformer_lib.drawing.strokes import draw_polygon, draw_segments, fill_polygon
from bevformer_lib.drawing.style import (
    GROUND_TRUTH,
    RING,
    TEXT,
    TEXT_FAINT,
    Color,
    Image,
    blank,
    class_color,
    detections_by_class,
    ground_truth_layer,
    shown_name,
)
from bevformer_lib.drawing.text import SEMIBOLD, put_text, shortened, text_width_px
from bevformer_lib.scenes.types import GroundTruthBox

CAMERAS_WIDTH_PX: Final = 1812
BIRDSEYE_PX: Final = (560, 780)
"""Smallest and largest side of the bird's-eye view; between them it is as high as the cameras."""
TITLE_HEIGHT_PX: Final = 48
LEGEND_HEIGHT_PX: Final = 40
MARGIN_PX: Final = 16

_TITLE_PX: Final = 20
_SUBTITLE_PX: Final = 15
_LEGEND_PX: Final = 14
_SWATCH_W, _SWATCH_H = 22, 12


def draw_frame(
    images: Sequence[Image],
    lidar_to_image: NDArray[Any],
    detections: Detections,
    class_names: Sequence[str],
    *,
    pc_range: Sequence[float],
    ground_truth: Sequence[GroundTruthBox] | None = None,
    title: str = "",
    subtitle: str = "",
) -> Image:
    """Draw a frame: the cameras on the left, the bird's-eye view on the right.

    Boxes are the detections as they are, in the colours of their classes; annotations are dashed and white.

    Args:
        images: one (H, W, 3) uint8 BGR per camera, stored order, all of one size.
        lidar_to_image: (cameras, 4, 4) LiDAR frame (m) to homogeneous pixels of these images.
        detections: all of them are drawn.
        class_names: in the order of ``detections.labels``.
        pc_range: x_min, y_min, z_min, x_max, y_max, z_max in metres; the ground that the bird's-eye view shows.
        ground_truth: annotations, or ``None`` where there are none to show.
        title: at the top left.
        subtitle: at the top right.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    layers = [] if ground_truth is None else [ground_truth_layer(ground_truth)]
    layers.append(detections_by_class(detections, class_names))
    cameras = draw_cameras(images, lidar_to_image, layers, width_px=CAMERAS_WIDTH_PX)
    side = min(max(cameras.shape[0], BIRDSEYE_PX[0]), BIRDSEYE_PX[1])
    birdseye = draw_birdseye(layers, pc_range=pc_range, size_wh=(side, side), heading="Bird's-eye view")
    body = beside([cameras, birdseye])
    entries = legend_entries(detections, class_names, ground_truth)
    return framed(body, title=title, subtitle=subtitle, legend=entries)


LegendEntry = tuple[Color, str, bool]
"""Colour, text, dashed."""


def legend_entries(
    detections: Detections, class_names: Sequence[str], ground_truth: Sequence[GroundTruthBox] | None
) -> list[LegendEntry]:
    """Return the classes present, in the model's order, with their counts; then the annotations, if given."""
    counts = Counter(int(label) for label in detections.labels)
    entries: list[LegendEntry] = [
        (class_color(label), f"{shown_name(class_names[label])} ({count})", False)
        for label, count in sorted(counts.items())
    ]
    if ground_truth is not None:
        entries.append((GROUND_TRUTH, f"annotated ({len(ground_truth)})", True))
    return entries


def beside(panels: Sequence[Image]) -> Image:
    """Put images side by side, centred."""
    height = max(panel.shape[0] for panel in panels)
    width = sum(panel.shape[1] for panel in panels) + GAP_PX * (len(panels) - 1)
    canvas = blank(width, height)
    left = 0
    for panel in panels:
        top = (height - panel.shape[0]) // 2
        canvas[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
        left += panel.shape[1] + GAP_PX
    return canvas


def stacked(panels: Sequence[Image]) -> Image:
    """Put images below each other, centred."""
    width = max(panel.shape[1] for panel in panels)
    canvas = blank(width, sum(panel.shape[0] for panel in panels) + GAP_PX * (len(panels) - 1))
    top = 0
    for panel in panels:
        left = (width - panel.shape[1]) // 2
        canvas[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
        top += panel.shape[0] + GAP_PX
    return canvas


def framed(body: Image, *, title: str, subtitle: str, legend: Sequence[LegendEntry]) -> Image:
    """Put a title bar above and a legend below an image."""
    width = body.shape[1] + 2 * MARGIN_PX
    canvas = blank(width, body.shape[0] + TITLE_HEIGHT_PX + LEGEND_HEIGHT_PX)
    canvas[TITLE_HEIGHT_PX : TITLE_HEIGHT_PX + body.shape[0], MARGIN_PX : MARGIN_PX + body.shape[1]] = body

    right = width - MARGIN_PX
    middle = TITLE_HEIGHT_PX / 2
    shown = shortened(title, width * 0.6, _TITLE_PX, SEMIBOLD)
    put_text(canvas, shown, (MARGIN_PX, middle), size_px=_TITLE_PX, color=TEXT, weight=SEMIBOLD)
    room = right - MARGIN_PX - text_width_px(shown, _TITLE_PX, SEMIBOLD) - 2 * MARGIN_PX
    put_text(
        canvas,
        shortened(subtitle, room, _SUBTITLE_PX),
        (right, middle),
        size_px=_SUBTITLE_PX,
        color=TEXT_FAINT,
        align="right",
    )
    _draw_legend(canvas, legend, canvas.shape[0] - LEGEND_HEIGHT_PX / 2)
    return canvas


def _draw_legend(canvas: Image, entries: Sequence[LegendEntry], middle: float) -> None:
    """Draw what the colours and marks mean on one line; classes first, marks at the right end."""
    marks = (
        f"filled face, tick: front    arrow: way in {VELOCITY_SECONDS:g} s    "
        f"grid {GRID_STEP_M:g} m, rings {RING_STEP_M:g} m"
    )
    right = canvas.shape[1] - MARGIN_PX
    put_text(canvas, marks, (right, middle), size_px=_LEGEND_PX, color=TEXT_FAINT, align="right")
    end = right - text_width_px(marks, _LEGEND_PX) - 2 * MARGIN_PX
    left = float(MARGIN_PX)
    if not entries:
        put_text(canvas, "no boxes", (left, middle), size_px=_LEGEND_PX, color=TEXT_FAINT)
    for color, text, dashed in entries:
        width = _SWATCH_W + 8 + text_width_px(text, _LEGEND_PX)
        if left + width > end:
            put_text(canvas, "...", (left, middle), size_px=_LEGEND_PX, color=TEXT_FAINT)
            return
        _draw_swatch(canvas, left, middle, color, dashed=dashed)
        put_text(canvas, text, (left + _SWATCH_W + 8, middle), size_px=_LEGEND_PX, color=TEXT)
        left += width + 22


def _draw_swatch(canvas: Image, left: float, middle: float, color: Color, *, dashed: bool) -> None:
    top, bottom = middle - _SWATCH_H / 2, middle + _SWATCH_H / 2
    corners = np.array([[left, top], [left + _SWATCH_W, top], [left + _SWATCH_W, bottom], [left, bottom]])
    if dashed:
        draw_polygon(canvas, corners, color, 1, dashed=True)
        return
    fill_polygon(canvas, corners, color)
    draw_segments(canvas, corners[None, [0, 1]], RING)
