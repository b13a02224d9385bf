"""Colours of classes and surfaces, and the boxes that an image shows, ready to be drawn."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.detections.geometry import ground_truth_as_detection_boxes
from bevformer_lib.detections.types import Detections
from bevformer_lib.scenes.types import GroundTruthBox

Image: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) uint8, BGR."""
Color: TypeAlias = tuple[int, int, int]
"""Blue, green, red in 0..255."""


def _bgr(rgb_hex: str) -> Color:
    red, green, blue = bytes.fromhex(rgb_hex)
    return blue, green, red


BACKGROUND: Final = _bgr("14171c")
SURFACE: Final = _bgr("1c2027")
GRID: Final = _bgr("2b313a")
RING: Final = _bgr("46505c")
TEXT: Final = _bgr("eef1f4")
TEXT_FAINT: Final = _bgr("9aa5b1")
BLACK: Final = _bgr("000000")
GROUND_TRUTH: Final = _bgr("ffffff")
EGO: Final = _bgr("d5dbe1")

CLASS_COLORS: Final = tuple(
    _bgr(rgb)
    for rgb in (
        "e69f00",
        "56b4e9",
        "f0e442",
        "009e73",
        "99ddff",
        "cc79a7",
        "9966ff",
        "ffaabb",
        "3f90da",
        "d55e00",
    )
)
"""Ten colours that stay apart with every kind of colour blindness and on dark grounds.

Six are Okabe and Ito's (jfly.uni-koeln.de/color); four were added so that the nearest two of the ten stay as far apart
as possible (CIE Lab, also after Machado et al.'s simulation of protanopia, deuteranopia and tritanopia).
"""

ROLE_REFERENCE: Final = CLASS_COLORS[1]
ROLE_CANDIDATE: Final = CLASS_COLORS[0]

_GOLDEN_RATIO = 0.618034


def blank(width: int, height: int, color: Color = BACKGROUND) -> Image:
    """Return an image of one colour."""
    canvas = np.empty((height, width, 3), dtype=np.uint8)
    canvas[:1] = color
    canvas[1:] = canvas[:1]  # rows are copied whole, a hundred times faster than colours
    return canvas


def class_color(label: int) -> Color:
    """Return the colour of a class by its number; beyond the ten, hues that follow the golden ratio."""
    if label < len(CLASS_COLORS):
        return CLASS_COLORS[label]
    extra = label - len(CLASS_COLORS)
    red, green, blue = colorsys.hsv_to_rgb(extra * _GOLDEN_RATIO % 1.0, (0.75, 0.45)[extra % 2], 0.95)
    return round(blue * 255), round(green * 255), round(red * 255)


def text_color_on(color: Color) -> Color:
    """Return black or white, whichever reads better on ``color`` (contrast ratio of WCAG 2)."""
    linear = [(c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4) for c in color]
    luminance = 0.0722 * linear[0] + 0.7152 * linear[1] + 0.2126 * linear[2]
    return BLACK if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else (255, 255, 255)


def shown_name(class_name: str) -> str:
    """Return a class name as people read it."""
    return class_name.replace("_", " ")


@dataclass(frozen=True)
class BoxLayer:
    """Boxes that are drawn alike.

    Attributes:
        boxes: (n, 9) float64, as in ``Detections.boxes``.
        colors: one per box.
        captions: one per box; an empty one is not drawn.
        dashed: broken lines, which tell a layer from others without colour.
    """

    boxes: NDArray[np.float64]
    colors: tuple[Color, ...]
    captions: tuple[str, ...]
    dashed: bool = False


def detections_by_class(detections: Detections, class_names: Sequence[str]) -> BoxLayer:
    """Return detections in the colours of their classes, captioned with class and score."""
    return BoxLayer(
        boxes=detections.boxes.astype(np.float64),
        colors=tuple(class_color(int(label)) for label in detections.labels),
        captions=tuple(
            f"{shown_name(class_names[label])} {score:.2f}"
            for label, score in zip(detections.labels, detections.scores, strict=True)
        ),
    )


def detections_in_color(detections: Detections, color: Color, *, dashed: bool = False) -> BoxLayer:
    """Return detections in one colour, without captions."""
    return _plain_layer(detections.boxes, color, dashed=dashed)


def ground_truth_layer(ground_truth: Sequence[GroundTruthBox]) -> BoxLayer:
    """Return annotations as dashed white boxes, without captions."""
    return _plain_layer(ground_truth_as_detection_boxes(ground_truth), GROUND_TRUTH, dashed=True)


def _plain_layer(boxes: NDArray[Any], color: Color, *, dashed: bool) -> BoxLayer:
    return BoxLayer(
        boxes=boxes.astype(np.float64),
        colors=(color,) * len(boxes),
        captions=("",) * len(boxes),
        dashed=dashed,
    )
