"""The trade-off of a precision search as one SVG file: what is kept, against the worst cosine over whole scenes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 20, 40, 62
_SMALLEST_LOSS: Final = 1e-8
_X_TICKS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_STYLE: Final = Markup(
    "<style>text{font:12px sans-serif;fill:#333}.rule{stroke:#ddd}.axis{stroke:#333}.bar{stroke:#b00;"
    "stroke-dasharray:6 4}.pass{fill:#167c3a}.miss{fill:#fff;stroke:#b00;stroke-width:1.5}.chosen{fill:none;"
    "stroke:#167c3a;stroke-width:2}.title{font-size:15px}</style>"
)


@dataclass(frozen=True)
class TrialPoint:
    """A trial in the plot.

    Attributes:
        macs_share: share of the multiply-accumulates that was kept, in [0, 1].
        worst_cosine: smallest cosine of an output over the frames seen; ``None`` where a value was not finite.
        passed: whether the bar held.
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


def trade_off_svg(points: Sequence[TrialPoint], bar_cosine: float) -> str:
    """Draw trials: x the kept share, y one minus the worst cosine on a logarithmic scale, better to the top.

    Args:
        points: the trials.
        bar_cosine: drawn as a line.
    """
    losses = [_loss(point.worst_cosine) for point in points] + [_loss(bar_cosine)]
    low, high = math.floor(math.log10(min(losses))), math.ceil(math.log10(max(losses)) + 1e-9)
    high = max(high, low + 1)

    def x(share: float) -> float:
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(loss: float) -> float:
        return _TOP + (math.log10(loss) - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_STYLE, _text("title", _WIDTH / 2, 18, "Precision kept against fidelity over whole scenes")]
    for power in range(low, high + 1):
        parts += [_line("rule", x(0), x(1), y(10.0**power), y(10.0**power))]
        parts += [_text("tick", _LEFT - 8, y(10.0**power), f"1 - {10.0**power:.0e}", anchor="end")]
    parts.append(_line("axis", x(0), x(1), y(10.0**high), y(10.0**high)))
    for share in _X_TICKS:
        parts.append(_text("tick", x(share), _HEIGHT - _BOTTOM + 18, f"{share:.0%}"))
    parts.append(_text("label", x(0.5), _HEIGHT - 24, "multiply-accumulates kept in higher precision"))
    parts.append(_text("label", 4, 26, "worst cosine", anchor="start"))
    bar = y(_loss(bar_cosine))
    parts += [_line("bar", x(0), x(1), bar, bar), _text("tick", x(1), bar - 8, f"bar {bar_cosine:g}", anchor="end")]
    for point in points:
        parts.append(_dot(point, x(point.macs_share), y(_loss(point.worst_cosine))))
    legend = "filled: holds the bar; ring: the result; hollow: misses it (stopped at the first frame that showed it)"
    parts.append(_text("tick", _WIDTH / 2, _HEIGHT - 6, legend))
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>\n'
        ).format(_WIDTH, _HEIGHT, f"{len(points)} trials", Markup("").join(parts))
    )


def _loss(cosine: float | None) -> float:
    return 1.0 if cosine is None else min(max(1.0 - cosine, _SMALLEST_LOSS), 1.0)


def _dot(point: TrialPoint, x: float, y: float) -> Markup:
    seen = "" if point.complete else ", stopped early"
    said = f"{point.label}: {point.macs_share:.1%} kept, worst cosine {point.worst_cosine}{seen}"
    dot = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="5"><title>{}</title></circle>').format(
        "pass" if point.passed else "miss", x, y, said
    )
    ring = Markup('<circle class="chosen" cx="{:.1f}" cy="{:.1f}" r="9"/>').format(x, y) if point.chosen else Markup("")
    return dot + ring


def _line(style: str, x1: float, x2: float, y1: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(style, x1, x2, y1, y2)


def _text(style: str, x: float, y: float, text: str, *, anchor: str = "middle") -> Markup:
    return Markup(
        '<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}" dominant-baseline="central">{}</text>'
    ).format(style, x, y, anchor, text)
