"""The trade-off of a precision search, drawn."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from bevformer_lib.precision.plot import PlottedCandidate, trade_off_svg

SVG = "{http://www.w3.org/2000/svg}"
CANDIDATES = (
    PlottedCandidate(0.0, 0.9, passed=False, complete=False, chosen=False, label="nothing kept"),
    PlottedCandidate(0.25, 0.9999, passed=True, complete=True, chosen=True, label="a & b"),
    PlottedCandidate(1.0, 1.0, passed=True, complete=True, chosen=False, label="all"),
    PlottedCandidate(0.5, None, passed=False, complete=False, chosen=False, label="broken"),
)


def test_candidates_stand_where_their_loss_is() -> None:
    drawn = ET.fromstring(trade_off_svg(CANDIDATES, 0.999))  # noqa: S314 (our own markup)
    dots = [node for node in drawn.iter(f"{SVG}circle") if node.get("class") != "chosen"]
    assert [dot.get("class") for dot in dots] == ["miss", "pass", "pass", "miss"]
    heights = [float(dot.get("cy") or 0) for dot in dots]
    assert heights[3] > heights[0] > heights[1] > heights[2], "better to the top"
    assert abs((heights[1] - heights[0]) / 3 - (heights[2] - heights[1]) / 4) < 0.02, "a power of ten is a step"
    [limit] = [node for node in drawn.iter(f"{SVG}line") if node.get("class") == "limit"]
    assert heights[0] > float(limit.get("y1") or 0) > heights[1]
    [ring] = [node for node in drawn.iter(f"{SVG}circle") if node.get("class") == "chosen"]
    assert (ring.get("cx"), ring.get("cy")) == (dots[1].get("cx"), dots[1].get("cy"))
    assert dots[1].findtext(f"{SVG}title") == "a & b: 25.0% kept, worst cosine 0.9999"


@pytest.mark.parametrize("candidates", [(), CANDIDATES[2:3]])
def test_few_candidates_can_be_drawn(candidates: tuple[PlottedCandidate, ...]) -> None:
    assert ET.fromstring(trade_off_svg(candidates, 1.0)).tag == f"{SVG}svg"  # noqa: S314 (our own markup)
