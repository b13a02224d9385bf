from __future__ import annotations

import cv2
import numpy as np
import pytest

from bevformer_lib.drawing import text
from bevformer_lib.drawing.style import Image
from bevformer_lib.drawing.text import SEMIBOLD, drawable, put_text, shortened, text_width_px

WHITE = (255, 255, 255)


@pytest.fixture(params=["scalable", "hershey"])
def fonts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with both kinds of fonts, as OpenCV 5 and 4 have them."""
    if request.param == "scalable" and not hasattr(cv2, "FontFace"):
        pytest.skip("this OpenCV has no scalable fonts")
    monkeypatch.setattr(text, "_HAS_SCALABLE_FONTS", request.param == "scalable")
    text._drawable_character.cache_clear()
    yield request.param
    text._drawable_character.cache_clear()


def drawn(content: str, align: str = "left", size_px: int = 20) -> Image:
    canvas = np.zeros((60, 600, 3), np.uint8)
    put_text(canvas, content, (300, 30), size_px=size_px, color=WHITE, align=align)
    return canvas


@pytest.mark.parametrize("size_px", [11, 20])
def test_capitals_are_centred_on_the_anchor(fonts: str, size_px: int) -> None:
    rows = np.flatnonzero(drawn("HELIX", size_px=size_px).any(axis=(1, 2)))
    assert abs((rows[0] + rows[-1]) / 2 - 30) <= 1.5
    # OpenCV 4 smooths its strokes a pixel beyond their ends.
    assert 0.55 * size_px <= rows[-1] - rows[0] + 1 <= 0.95 * size_px + (not hasattr(cv2, "FontFace"))


@pytest.mark.parametrize(("align", "low", "high"), [("left", 300, 420), ("center", 230, 370), ("right", 180, 302)])
def test_alignment(fonts: str, align: str, low: int, high: int) -> None:
    columns = np.flatnonzero(drawn("scene-0103", align).any(axis=(0, 2)))
    wider = 0 if hasattr(cv2, "FontFace") else 20  # as OpenCV 4's fonts are
    assert low - wider <= columns[0]
    assert columns[-1] <= high + wider
    assert columns[-1] - columns[0] == pytest.approx(text_width_px("scene-0103", 20), abs=4)


def test_no_character_becomes_a_question_mark(fonts: str) -> None:
    shown = drawable("Zürich 東京 \u0928 \U0001f600 tab\tend")
    assert "?" not in shown
    assert "\\u0928" in shown
    assert "\\U0001f600" in shown or "\\U0001F600" in shown.upper()
    assert shown.endswith("tab end")
    if fonts == "hershey":
        assert shown.startswith("Zurich \\u6771\\u4eac ")
    else:
        assert shown.startswith("Zürich 東京 ")
    assert drawable("really?") == "really?"


def test_names_that_differ_look_different(fonts: str) -> None:
    assert not np.array_equal(drawn("東"), drawn("京"))
    assert not np.array_equal(drawn("東"), drawn("?"))


def test_long_text_ends_in_an_ellipsis(fonts: str) -> None:
    assert shortened("short", 500, 20) == "short"
    cut = shortened("a rather long name of a scene", 120, 20, SEMIBOLD)
    assert cut.startswith("a rather")
    assert cut.endswith("...")
    assert text_width_px(cut, 20, SEMIBOLD) <= 120
    assert shortened("anything", 0, 20) == ""
    assert text_width_px("", 20) == 0
