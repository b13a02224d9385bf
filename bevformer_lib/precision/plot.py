"""The trade-off of a precision search as one SVG file: what is kept, against the worst cosine over whole scenes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from bevformer_lib.report.svg import HEIGHT, WIDTH, Plane, line, tag, text

_SMALLEST_LOSS: Final = 1e-8
_MACS_TICKS: Final = {0.0: "0%", 0.2: "20%", 0.4: "40%", 0.6: "60%", 0.8: "80%", 1.0: "100%"}
_LEGEND: Final = (
    "filled: holds the thresholds; ring: the result; hollow: misses one (stopped at the first frame that decides)"
)
_STYLE: Final = Markup(
    "<style>:root{color-scheme:light dark}svg{background:Canvas}text{font:12px sans-serif;fill:CanvasText}"
    ".grid{stroke:#8884}.axis{stroke:CanvasText}.limit{stroke:#d33;stroke-dasharray:6 4}.pass{fill:#2a9d55}"
    ".miss{fill:none;stroke:#d33;stroke-width:1.5}.chosen{fill:none;stroke:#2a9d55;stroke-width:2}"
    ".note{font-size:9px}</style>"
)


@dataclass(frozen=True)
class PlottedCandidate:
    """A candidate in the plot.

    Attributes:
        macs_share: fraction of the multiply-accumulates that was kept, in [0, 1].
        worst_cosine: smallest cosine of an output over the frames seen; ``None`` where a value was not finite.
        passed: whether it holds the limit.
        complete: whether all frames were seen.
        chosen: whether this is the result.
        label: the groups kept.
    """

    macs_share: float
    worst_cosine: float | None
    passed: bool
    complete: bool
    chosen: bool
    label: str


def trade_off_svg(candidates: Sequence[PlottedCandidate], min_cosine: float | None) -> str:
    """Draw candidates: x what was kept, y one minus the worst cosine on a logarithmic scale, better to the top.

    Args:
        candidates: all that were tried.
        min_cosine: the limit, drawn as a line; ``None``: there is none.
    """
    nines = [_nines(one.worst_cosine) for one in candidates]
    shown = [*nines, *([] if min_cosine is None else [_nines(min_cosine)])] or [0.0]
    low, high = math.floor(min(shown) + 1e-9), math.ceil(max(shown) - 1e-9)
    ticks = {float(power): f"1 - {10.0**-power:.0e}" for power in range(low, max(high, low + 1) + 1)}
    plane = Plane((0.0, 1.0), _MACS_TICKS, ticks)
    parts = plane.axes("multiply-accumulates kept in higher precision", "worst cosine over whole scenes")
    if min_cosine is not None:
        height = plane.y(_nines(min_cosine))
        parts.append(line("limit", plane.x(0), plane.x(1), height, height))
        parts.append(text("tick", plane.x(1), height - 8, f"limit {min_cosine:g}", anchor="end"))
    for one, height in zip(candidates, nines, strict=True):
        center = {"cx": plane.x(one.macs_share), "cy": plane.y(height)}
        seen = "" if one.complete else ", stopped early"
        said = tag("title", f"{one.label}: {one.macs_share:.1%} kept, worst cosine {one.worst_cosine}{seen}")
        parts.append(tag("circle", said, class_="pass" if one.passed else "miss", r=5, **center))
        if one.chosen:
            parts.append(tag("circle", class_="chosen", r=9, **center))
    parts.append(text("note", WIDTH / 2, HEIGHT + 8, _LEGEND, anchor="middle"))
    words = f"{len(candidates)} candidates"
    view = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"-8 -8 {WIDTH + 16} {HEIGHT + 28}"}
    return str(tag("svg", _STYLE, *parts, role="img", aria_label=words, **view)) + "\n"


def _nines(cosine: float | None) -> float:
    """Return how many powers of ten a cosine is away from 0: 3 for 0.999."""
    return 0.0 if cosine is None else -math.log10(min(max(1.0 - cosine, _SMALLEST_LOSS), 1.0))
