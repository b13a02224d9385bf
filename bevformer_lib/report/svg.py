"""What charts are built of: elements of inline SVG, a plane with axes, a framed figure.

Colours come from the page's style sheet (``.series-0`` ... ``.series-5``), so that charts follow its light
and dark themes. Sizes are in units of the view box, which is narrow enough to stay readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

SERIES_STYLES: Final = 6
"""How many series the style sheet tells apart."""
WIDTH, HEIGHT = 480, 280
"""Of a chart with two axes."""

_RIGHT, _TOP, _BOTTOM = 12, 34, 46
_DIGIT_WIDTH = 7.6
_TICKS = 5
_ROUNDING, _DECIMALS = 1e-9, 12
"""Values that differ by less of their size, or by less than ticks can show, are one value."""


def tag(name: str, *inside: str, **attributes: object) -> Markup:
    """Return an element; numbers are rounded to a hundredth of a pixel, ``class_`` is ``class``, ``a_b`` is ``a-b``."""
    written = Markup("").join(
        Markup(' {}="{}"').format(
            key.rstrip("_").replace("_", "-"),
            f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, int | float) else value,
        )
        for key, value in attributes.items()
    )
    content = Markup("").join(map(escape, inside))
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, content)


def text(style: str, x: float, y: float, *inside: str, anchor: str = "start") -> Markup:
    """Write a line of text, centred on ``y``."""
    return tag("text", *inside, class_=style, x=x, y=y, text_anchor=anchor, dominant_baseline="central")


def line(style: str, x1: float, x2: float, y1: float, y2: float) -> Markup:
    """Draw a straight line."""
    return tag("line", class_=style, x1=x1, x2=x2, y1=y1, y2=y2)


def path(points: Sequence[tuple[float, float | None]]) -> str:
    """Return the strokes through points; one without ``y`` leaves a gap."""
    strokes, pen_down = [], False
    for x, y in points:
        if y is not None:
            strokes.append(f"{'L' if pen_down else 'M'}{x:.2f} {y:.2f}")
        pen_down = y is not None
    return " ".join(strokes)


@dataclass(frozen=True)
class Plane:
    """A chart with two axes: from values to places in the view box.

    Attributes:
        x_range: both ends of the horizontal axis.
        x_ticks: value -> its text.
        y_ticks: value -> its text, from the lower end of the vertical axis to the upper one.
    """

    x_range: tuple[float, float]
    x_ticks: Mapping[float, str]
    y_ticks: Mapping[float, str]

    @property
    def left(self) -> float:
        """Place of the vertical axis, right of its numbers."""
        return 12 + _DIGIT_WIDTH * max(map(len, self.y_ticks.values()))

    def x(self, value: float) -> float:
        """Return the place of a value on the horizontal axis."""
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (WIDTH - self.left - _RIGHT)

    def y(self, value: float) -> float:
        """Return the place of a value on the vertical axis."""
        low, high = min(self.y_ticks), max(self.y_ticks)
        return HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    def axes(self, x_label: str, y_label: str) -> list[Markup]:
        """Draw grid, axes, numbers and labels."""
        left, right, floor = self.left, WIDTH - _RIGHT, HEIGHT - _BOTTOM
        parts = [text("label", 0, 9, y_label)]
        for tick, number in self.y_ticks.items():
            y = self.y(tick)
            parts += [line("grid", left, right, y, y), text("tick", left - 7, y, number, anchor="end")]
        parts.append(line("axis", left, right, floor, floor))
        for tick, number in self.x_ticks.items():
            x = self.x(tick)
            fits = x + _DIGIT_WIDTH * len(number) / 2 <= WIDTH
            parts.append(line("axis", x, x, floor, floor + 4))
            parts.append(text("tick", x if fits else WIDTH, floor + 14, number, anchor="middle" if fits else "end"))
        return [*parts, text("label", (left + right) / 2, HEIGHT - 10, x_label, anchor="middle")]


def labelled(ticks: Sequence[float]) -> dict[float, str]:
    """Return evenly spaced values, each with as many decimals as their spacing needs."""
    if len(ticks) < 2:
        return {tick: f"{tick:g}" for tick in ticks}
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return {tick: f"{tick:.{digits}f}" for tick in ticks}


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
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if raw <= power * factor * (1 + 1e-9))
    if whole:
        step = max(1.0, step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(number * step, _DECIMALS) for number in range(first, last + 1)]
    return [tick for tick in ticks if limit is None or tick <= limit + step * 1e-6]


def style(kind: str, number: int) -> str:
    """Return the class of a ``line``, ``dot`` or ``bar`` of a series."""
    return f"{kind} series-{number % SERIES_STYLES}"


def figure(title: str, said: str, parts: Sequence[Markup], legend: Markup, *, height: float = HEIGHT) -> Markup:
    """Frame a drawing.

    Args:
        title: heading.
        said: stands for the drawing where it can't be seen.
        parts: what is drawn, ``WIDTH`` wide; without any, the figure says that there is nothing.
        legend: below the drawing.
        height: of the drawing.
    """
    if not parts:
        drawing = tag("p", "No values to draw.", class_="empty")
    else:
        name = f"{title}. {said}"
        drawing = tag("svg", *parts, viewBox=f"0 0 {WIDTH} {height:g}", role="img", aria_label=name) + legend
    return tag("figure", tag("figcaption", title), drawing, class_="chart")


def legend_of(names: Sequence[str], *, bars: bool) -> Markup:
    """Name the series, where there is more than one."""
    if len(names) < 2:
        return Markup("")
    signs = []
    for number in range(len(names)):
        if bars:
            shape, width = tag("rect", class_=style("bar", number), x=1, y=1, width=10, height=10, rx=1.5), 12
        else:
            shape, width = tag("path", class_=style("line", number), d="M1 6H27"), 28
        signs.append(tag("svg", shape, viewBox=f"0 0 {width} 12", width=width, height=12, aria_hidden="true"))
    return tag("ul", *(tag("li", sign, name) for sign, name in zip(signs, names, strict=True)), class_="legend")
