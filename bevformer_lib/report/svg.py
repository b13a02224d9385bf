"""What charts are built of: a plane with axes, text, strokes, a framed figure; all inline SVG.

Colours come from the page's style sheet (``.series-0`` ... ``.series-5``), so that charts follow its light
and dark themes. Sizes are in units of the view box, which is narrow enough to stay readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

SERIES_STYLES: Final = 6
"""How many series the style sheet tells apart."""

WIDTH, HEIGHT = 480, 280
"""Of a chart with two axes."""

_RIGHT, _TOP, _BOTTOM = 12, 34, 46
_DIGIT_WIDTH = 7.6
_TICKS = 5

NOTHING: Final = Markup('<p class="empty">No values to draw.</p>')
_LINE_SIGN: Final = Markup(
    '<svg viewBox="0 0 28 12" width="28" height="12" aria-hidden="true">'
    '<path class="line series-{}" d="M1 6H27"/></svg>'
)
_BAR_SIGN: Final = Markup(
    '<svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">'
    '<rect class="bar series-{}" x="1" y="1" width="10" height="10" rx="1.5"/></svg>'
)


@dataclass(frozen=True)
class Plane:
    """From values to the view box of a chart with two axes."""

    left: float
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        """Return the place of a value on the horizontal axis."""
        return self.left + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - self.left - _RIGHT)

    def y(self, value: float) -> float:
        """Return the place of a value on the vertical axis."""
        room = HEIGHT - _TOP - _BOTTOM
        return _TOP + room - (value - self.y_low) / (self.y_high - self.y_low) * room


def plane_of(x_range: tuple[float, float], y_ticks: Sequence[float]) -> Plane:
    """Return the plane whose vertical axis has these ticks, with room for their numbers."""
    left = 12 + _DIGIT_WIDTH * max(map(len, tick_texts(y_ticks)))
    return Plane(left, *x_range, y_ticks[0], y_ticks[-1])


def axes(plane: Plane, x_ticks: Sequence[float], y_ticks: Sequence[float], x_label: str, y_label: str) -> list[Markup]:
    """Draw grid, axes, numbers and labels."""
    left, right, floor = plane.left, WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts = [text("label", 0, 9, y_label)]
    for tick, number in zip(y_ticks, tick_texts(y_ticks), strict=True):
        y = plane.y(tick)
        parts += [rule("grid", left, right, y, y), text("tick", left - 7, y, number, anchor="end")]
    parts.append(rule("axis", left, right, floor, floor))
    for tick, number in zip(x_ticks, tick_texts(x_ticks), strict=True):
        x = plane.x(tick)
        fits = x + _DIGIT_WIDTH * len(number) / 2 <= WIDTH
        parts.append(rule("axis", x, x, floor, floor + 4))
        parts.append(text("tick", x if fits else WIDTH, floor + 14, number, anchor="middle" if fits else "end"))
    parts.append(text("label", (left + right) / 2, HEIGHT - 10, x_label, anchor="middle"))
    return parts


_ROUNDING, _DECIMALS = 1e-9, 12
"""Values that differ by less of their size, or by less than ticks can show, are one value."""


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """Write evenly spaced values with as many decimals as their spacing needs."""
    if len(ticks) < 2:
        return [f"{tick:g}" for tick in ticks]
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return [f"{tick:.{digits}f}" for tick in ticks]


def nice_ticks(low: float, high: float, *, whole: bool = False, limit: float | None = None) -> list[float]:
    """Return about five round, evenly spaced values that enclose the range.

    Args:
        low: smallest value.
        high: largest value.
        whole: whether the steps are whole numbers.
        limit: no tick goes beyond it.
    """
    if high - low <= max(_ROUNDING * max(abs(low), abs(high)), 100 * 10.0**-_DECIMALS):
        spread = 1.0 if whole else max(abs(high), 1e-6) * 0.01
        low, high = (low - spread, high) if limit is not None and high + spread > limit else (low, high + spread)
    step = _nice_step((high - low) / _TICKS)
    if whole:
        step = max(1.0, step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(number * step, _DECIMALS) for number in range(first, last + 1)]
    return [tick for tick in ticks if limit is None or tick <= limit + step * 1e-6]


def _nice_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 5, 10) if raw <= power * factor * (1 + 1e-9))


def figure(title: str, drawing: Markup, names: Sequence[str], *, bars: bool = False) -> Markup:
    """Frame a drawing with its title, and with a legend where there is more than one series."""
    sign = _BAR_SIGN if bars else _LINE_SIGN
    entries = Markup("").join(
        Markup("<li>{}{}</li>").format(sign.format(number % SERIES_STYLES), name) for number, name in enumerate(names)
    )
    legend = Markup('<ul class="legend">{}</ul>').format(entries) if len(names) > 1 else ""
    return Markup('<figure class="chart"><figcaption>{}</figcaption>{}{}</figure>').format(title, drawing, legend)


def svg(height: float, said: str, parts: Sequence[Markup]) -> Markup:
    """Frame parts that are ``WIDTH`` wide; ``said`` stands for the image where it can't be seen."""
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, n(height), said, Markup("").join(parts)
    )


def rule(style: str, x1: float, x2: float, y1: float, y2: float) -> Markup:
    """Draw a straight line."""
    return Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(style, n(x1), n(x2), n(y1), n(y2))


def text(style: str, x: float, y: float, words: str, *, anchor: str = "start") -> Markup:
    """Write a line of text, centred on ``y``."""
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}" dominant-baseline="central">{}</text>').format(
        style, n(x), n(y), anchor, words
    )


def n(value: float) -> str:
    """Return a coordinate; two decimals are a hundredth of a pixel."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
