"""Line and bar charts as inline SVG in a ``<figure>``: no script, no font, no request.

Colours come from the page's style sheet (``.series-0`` ... ``.series-5``), so that charts follow its light
and dark themes; lines differ by dash as well as by colour. Sizes are in units of the view box, which is
narrow enough to stay readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

SERIES_STYLES: Final = 6
"""How many series the style sheet tells apart."""

_WIDTH, _HEIGHT = 480, 280
_RIGHT, _TOP, _BOTTOM = 12, 34, 46
_DIGIT_WIDTH = 7.6
_BAR, _BAR_ROOM, _BAR_LABEL, _BAR_GAP = 14, 400, 22, 14
_MOST_MARKERS = 40
_TICKS = 5
_TINY = 1e-12

_NOTHING: Final = Markup('<p class="empty">No values to draw.</p>')
_LINE_SIGN: Final = Markup(
    '<svg viewBox="0 0 28 12" width="28" height="12" aria-hidden="true">'
    '<path class="line series-{}" d="M1 6H27"/></svg>'
)
_BAR_SIGN: Final = Markup(
    '<svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">'
    '<rect class="bar series-{}" x="1" y="1" width="10" height="10" rx="1.5"/></svg>'
)


@dataclass(frozen=True)
class Series:
    """A line: (x, y) points in order; ``None`` as y leaves a gap."""

    name: str
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True)
class Bars:
    """A row of bars, one value per series; ``None`` leaves the bar out."""

    label: str
    values: Sequence[float | None]


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    y_format: Callable[[float], str],
    y_from_zero: bool = False,
    y_limit: float | None = None,
) -> Markup:
    """Draw lines over a whole-numbered x axis.

    Args:
        title: heading.
        series: at most ``SERIES_STYLES`` lines.
        x_label: name of the x axis.
        y_label: name of the y axis, with its unit.
        y_format: a value in words, for the tooltips and the text that stands for the picture.
        y_from_zero: whether the y axis begins at 0.
        y_limit: the largest value that y can have, such as 1 for a cosine.
    """
    points = [(x, y) for one in series for x, y in one.points if y is not None]
    if not points:
        return _figure(title, _NOTHING, [])
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    x_ticks = [tick for tick in nice_ticks(first, last, whole=True) if first <= tick <= last]
    lowest = 0.0 if y_from_zero else min(y for _, y in points)
    y_ticks = nice_ticks(lowest, max(y for _, y in points), limit=y_limit)
    digits = max(0, -math.floor(math.log10(y_ticks[1] - y_ticks[0]) + 1e-9))
    y_texts = [f"{tick:.{digits}f}" for tick in y_ticks]
    left = 12 + _DIGIT_WIDTH * max(map(len, y_texts))
    place = _Plane(left, first, max(last, first + 1), y_ticks[0], y_ticks[-1])
    parts = _axes(place, x_ticks, dict(zip(y_ticks, y_texts, strict=True)), x_label, y_label)
    for number, one in enumerate(series):
        parts += _line(place, number, one, y_format)
    ys = [y for _, y in points]
    description = f"{y_label} by {x_label}: from {y_format(min(ys))} to {y_format(max(ys))}."
    svg = _svg(_HEIGHT, f"{title}. {description}", parts)
    return _figure(title, svg, [one.name for one in series])


def bar_chart(
    title: str, series: Sequence[str], rows: Sequence[Bars], *, value_format: Callable[[float], str]
) -> Markup:
    """Draw horizontal bars from 0, their values beside them.

    Args:
        title: heading.
        series: name of each of a row's bars.
        rows: labels and values.
        value_format: a value in words, with its unit.
    """
    largest = max((value for row in rows for value in row.values if value is not None), default=None)
    if largest is None:
        return _figure(title, _NOTHING, [])
    scale = _BAR_ROOM / max(largest, _TINY)
    row_height = _BAR_LABEL + _BAR * len(series) + _BAR_GAP
    height = row_height * len(rows)
    parts = []
    for place, row in enumerate(rows):
        parts.append(_text("label", 0, place * row_height + _BAR_LABEL / 2, row.label))
        top = place * row_height + _BAR_LABEL
        parts += [
            _bar(top + number * _BAR, number, max(value * scale, 1.0), value_format(value))
            for number, value in enumerate(row.values)
            if value is not None
        ]
    return _figure(title, _svg(height, f"{title}. {_rows_said(series, rows, value_format)}", parts), series, bars=True)


def nice_ticks(low: float, high: float, *, whole: bool = False, limit: float | None = None) -> list[float]:
    """Return about five round, evenly spaced values that enclose the range.

    Args:
        low: smallest value.
        high: largest value.
        whole: whether the steps are whole numbers.
        limit: no tick goes beyond it.
    """
    if high <= low:
        spread = 1.0 if whole else max(abs(high), 1e-6) * 0.01
        low, high = (low - spread, high) if limit is not None and high >= limit else (low, high + spread)
    step = _nice_step((high - low) / _TICKS)
    if whole:
        step = max(1.0, step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(number * step, 12) for number in range(first, last + 1)]
    return [tick for tick in ticks if limit is None or tick <= limit + step * 1e-6]


def _nice_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 5, 10) if raw <= power * factor * (1 + 1e-9))


@dataclass(frozen=True)
class _Plane:
    """From values to the view box."""

    left: float
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        room = _WIDTH - self.left - _RIGHT
        return self.left + (value - self.x_low) / (self.x_high - self.x_low) * room

    def y(self, value: float) -> float:
        room = _HEIGHT - _TOP - _BOTTOM
        return _TOP + room - (value - self.y_low) / (self.y_high - self.y_low) * room


def _axes(
    place: _Plane, x_ticks: Sequence[float], y_ticks: Mapping[float, str], x_label: str, y_label: str
) -> list[Markup]:
    left, right, floor = place.left, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = [_text("label", 0, 9, y_label)]
    for tick, text in y_ticks.items():
        y = place.y(tick)
        parts += [_rule("grid", left, right, y, y), _text("tick", left - 7, y, text, anchor="end")]
    parts.append(_rule("axis", left, right, floor, floor))
    for tick in x_ticks:
        x = place.x(tick)
        parts += [
            _rule("axis", x, x, floor, floor + 4),
            _text("tick", x, floor + 14, f"{tick:.0f}", anchor="middle"),
        ]
    parts.append(_text("label", (left + right) / 2, _HEIGHT - 10, x_label, anchor="middle"))
    return parts


def _line(place: _Plane, number: int, series: Series, y_format: Callable[[float], str]) -> list[Markup]:
    style = number % SERIES_STYLES
    strokes, pen_down = [], False
    for x, y in series.points:
        if y is not None:
            strokes.append(f"{'L' if pen_down else 'M'}{_n(place.x(x))} {_n(place.y(y))}")
        pen_down = y is not None
    parts = [Markup('<path class="line series-{}" d="{}"/>').format(style, " ".join(strokes))]
    if len(strokes) <= _MOST_MARKERS:
        dot = Markup('<circle class="dot series-{}" cx="{}" cy="{}" r="3"><title>{}</title></circle>')
        parts += [
            dot.format(style, _n(place.x(x)), _n(place.y(y)), f"{series.name}, {x:.0f}: {y_format(y)}")
            for x, y in series.points
            if y is not None
        ]
    return parts


def _bar(top: float, number: int, length: float, value: str) -> Markup:
    bar = Markup('<rect class="bar series-{}" x="0" y="{}" width="{}" height="{}" rx="1.5"/>').format(
        number % SERIES_STYLES, _n(top + 1), _n(length), _BAR - 2
    )
    return bar + _text("tick", length + 6, top + _BAR / 2, value)


def _rows_said(series: Sequence[str], rows: Sequence[Bars], value_format: Callable[[float], str]) -> str:
    """Return a bar chart in words, for those who can't see it."""
    return " ".join(
        f"{row.label}: "
        + ", ".join(
            f"{name} {'–' if value is None else value_format(value)}"  # noqa: RUF001
            for name, value in zip(series, row.values, strict=True)
        )
        + "."
        for row in rows
    )


def _rule(style: str, x1: float, x2: float, y1: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(style, _n(x1), _n(x2), _n(y1), _n(y2))


def _text(style: str, x: float, y: float, text: str, *, anchor: str = "start") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}" dominant-baseline="central">{}</text>').format(
        style, _n(x), _n(y), anchor, text
    )


def _svg(height: float, said: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, _n(height), said, Markup("").join(parts)
    )


def _figure(title: str, drawing: Markup, names: Sequence[str], *, bars: bool = False) -> Markup:
    """Frame a drawing with its title, and with a legend where there is more than one series."""
    sign = _BAR_SIGN if bars else _LINE_SIGN
    entries = Markup("").join(
        Markup("<li>{}{}</li>").format(sign.format(number % SERIES_STYLES), name) for number, name in enumerate(names)
    )
    legend = Markup('<ul class="legend">{}</ul>').format(entries) if len(names) > 1 else ""
    return Markup('<figure class="chart"><figcaption>{}</figcaption>{}{}</figure>').format(title, drawing, legend)


def _n(value: float) -> str:
    """Return a coordinate; two decimals are a hundredth of a pixel."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
