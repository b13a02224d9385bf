r"""Text on images, with whatever fonts the installed OpenCV has.

OpenCV 5 brings scalable fonts with most scripts; OpenCV 4 draws ASCII alone and puts a question mark for every other
byte. A character that can't be drawn appears as its nearest ASCII letters or else as its code (``\u0928``), never as
a question mark that hides what it was.
"""

from __future__ import annotations

import threading
import unicodedata
from functools import lru_cache
from typing import Any, Final, Literal

import cv2
import numpy as np

from bevformer_lib.drawing.style import Color, Image

REGULAR: Final = 400
SEMIBOLD: Final = 600
ELLIPSIS: Final = "..."

_HAS_SCALABLE_FONTS: Final = hasattr(cv2, "FontFace")
_CAP_HEIGHT: Final = 0.70
"""Height of capitals, in sizes."""
_HERSHEY_CAP_HEIGHT_PX: Final = 21.0
"""Height of capitals of the Hershey fonts at scale 1."""
_HERSHEY_BOLD_PX: Final = 18
"""Size from which Hershey's semibold strokes don't run together."""

_fonts = threading.local()


def put_text(
    canvas: Image,
    text: str,
    anchor_xy: tuple[float, float],
    *,
    size_px: int,
    color: Color,
    weight: int = REGULAR,
    align: Literal["left", "center", "right"] = "left",
) -> None:
    """Draw one line of text, its capitals centred vertically on ``anchor_xy``.

    Args:
        canvas: changed in place.
        text: any characters; line breaks are not followed.
        anchor_xy: the left end, middle or right end of the text, as ``align`` says; and the middle of its height.
        size_px: size of the font.
        color: of the strokes.
        weight: ``REGULAR`` or ``SEMIBOLD``.
        align: which part of the text is at the anchor.
    """
    shown = drawable(text)
    share = {"left": 0.0, "center": 0.5, "right": 1.0}[align]
    left = round(anchor_xy[0] - share * _width(shown, size_px, weight))
    baseline = round(anchor_xy[1] + size_px * _CAP_HEIGHT / 2)
    if _HAS_SCALABLE_FONTS:
        cv2.putText(canvas, shown, (left, baseline), color, _font(), size_px, weight)
    else:
        scale, thickness = _hershey(size_px, weight)
        cv2.putText(canvas, shown, (left, baseline), cv2.FONT_HERSHEY_SIMPLEX, scale, color, thickness, cv2.LINE_AA)


def text_width_px(text: str, size_px: int, weight: int = REGULAR) -> int:
    """Return how wide :func:`put_text` draws a text."""
    return _width(drawable(text), size_px, weight)


def shortened(text: str, max_width_px: float, size_px: int, weight: int = REGULAR) -> str:
    """Return the text, its end replaced by an ellipsis where it would be wider than ``max_width_px``."""
    if text_width_px(text, size_px, weight) <= max_width_px:
        return text
    for length in range(len(text) - 1, 0, -1):
        candidate = text[:length].rstrip() + ELLIPSIS
        if text_width_px(candidate, size_px, weight) <= max_width_px:
            return candidate
    return ""


def drawable(text: str) -> str:
    """Return the text with every character that the fonts lack written with others."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_drawable_character(character) for character in text)


@lru_cache(maxsize=4096)
def _drawable_character(character: str) -> str:
    if character.isascii():
        return character if character.isprintable() else " "
    if _HAS_SCALABLE_FONTS and _has_glyph(character):
        return character
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain or character.encode("unicode_escape").decode()


def _has_glyph(character: str) -> bool:
    """Tell whether the scalable font draws this character; it draws a question mark instead of one it lacks."""
    return not np.array_equal(_drawn_alone(character), _drawn_alone("?"))


def _drawn_alone(character: str) -> Image:
    canvas = np.zeros((48, 96, 3), dtype=np.uint8)
    cv2.putText(canvas, character, (8, 32), (255, 255, 255), _font(), 24, REGULAR)
    return canvas


def _width(shown: str, size_px: int, weight: int) -> int:
    return _measured_width(shown, size_px, weight, scalable=_HAS_SCALABLE_FONTS)


@lru_cache(maxsize=4096)
def _measured_width(shown: str, size_px: int, weight: int, *, scalable: bool) -> int:
    if not shown:
        return 0
    if scalable:
        left, _, width, _ = cv2.getTextSize((0, 0), shown, (0, 0), _font(), size_px, weight)
        return int(left + width)
    scale, thickness = _hershey(size_px, weight)
    return int(cv2.getTextSize(shown, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)[0][0])


def _hershey(size_px: int, weight: int) -> tuple[float, int]:
    """Return scale and thickness of the Hershey font."""
    bold = weight >= SEMIBOLD and size_px >= _HERSHEY_BOLD_PX
    return size_px * _CAP_HEIGHT / _HERSHEY_CAP_HEIGHT_PX, 2 if bold else 1


def _font() -> Any:
    """Return this thread's font: a font holds a cache of glyphs that threads can't share."""
    if not hasattr(_fonts, "face"):
        _fonts.face = cv2.FontFace("sans")
    return _fonts.face
