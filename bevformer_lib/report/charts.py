"""Line, bar and column charts as inline SVG in a ``<figure>``: no script, no font, no request.

Lines differ by dash as well as by colour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from bevformer_lib.report.svg import (
    HEIGHT,
    NOTHING,
    SERIES_STYLES,
    Plane,
    axes,
    figure,
    n,
    nice_ticks,
    plane_of,
    svg,
    text,
)

_BAR, _BAR_ROOM, _BAR_LABEL, _BAR_GAP = 14, 400, 22, 14
_MOST_MARKERS = 40
_COLUMN_GAP_SHARE = 0.12
_TINY = 1e-12


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
    x_whole: bool = True,
    x_range: tuple[float, float] | None = None,
    y_from_zero: bool = False,
    y_limit: float | None = None,
    y_to_limit: bool = False,
    markers: bool = True,
) -> Markup:
    """Draw lines.

    Args:
        title: heading.
        series: at most ``SERIES_STYLES`` lines.
        x_label: name of the x axis.
        y_label: name of the y axis, with its unit.
        y_format: a value in words, for the tooltips and the text that stands for the image.
        x_whole: whether x is counted, such as frames; its ticks are whole numbers then.
        x_range: both ends of the x axis; those of the points if left out.
        y_from_zero: whether the y axis begins at 0.
        y_limit: the largest value that y can have, such as 1 for a cosine.
        y_to_limit: whether the y axis always reaches up to it.
        markers: whether few points are shown as dots too.
    """
    points = [(x, y) for one in series for x, y in one.points if y is not None]
    if not points:
        return figure(title, NOTHING, [])
    first, last = x_range or (min(x for x, _ in points), max(x for x, _ in points))
    x_ticks = [tick for tick in nice_ticks(first, last, whole=x_whole) if first <= tick <= last]
    lowest = 0.0 if y_from_zero else min(y for _, y in points)
    highest = y_limit if y_to_limit and y_limit is not None else max(y for _, y in points)
    y_ticks = nice_ticks(lowest, highest, limit=y_limit)
    plane = plane_of((first, last if last > first else first + 1), y_ticks)
    parts = axes(plane, x_ticks, y_ticks, x_label, y_label)
    for number, one in enumerate(series):
        parts += _line(plane, number, one, y_format, markers=markers)
    ys = [y for _, y in points]
    description = f"{y_label} by {x_label}: from {y_format(min(ys))} to {y_format(max(ys))}."
    return figure(title, svg(HEIGHT, f"{title}. {description}", parts), [one.name for one in series])


def histogram(
    title: str,
    samples: Sequence[tuple[str, Sequence[float]]],
    *,
    x_label: str,
    bins: int = 24,
    marks: Sequence[tuple[str, float]] = (),
) -> Markup:
    """Draw how values are spread, as the share of each sample (%) per bin; several samples share their bins.

    Args:
        title: heading.
        samples: (name, values), at most ``SERIES_STYLES``; one without values is named but not drawn.
        x_label: what is counted, with its unit.
        bins: how many columns at most.
        marks: (name, value) of vertical lines, such as a median.
    """
    arrays = [np.asarray(values, dtype=np.float64) for _, values in samples]
    everything = np.concatenate(arrays) if arrays else np.zeros(0)
    if not len(everything):
        return figure(title, NOTHING, [])
    edges = bin_edges(everything, bins)
    shares = [np.histogram(values, edges)[0] * (100.0 / max(len(values), 1)) for values in arrays]
    y_ticks = nice_ticks(0.0, max(float(share.max()) for share in shares))
    plane = plane_of((float(edges[0]), float(edges[-1])), y_ticks)
    x_ticks = [tick for tick in nice_ticks(plane.x_low, plane.x_high) if plane.x_low <= tick <= plane.x_high]
    parts = axes(plane, x_ticks, y_ticks, x_label, "share, %")
    for number, share in enumerate(shares):
        parts += _columns(plane, edges, share, number, len(shares))
    parts += [_mark(plane.x(value), plane.y(y_ticks[-1]), plane.y(0.0), name) for name, value in marks]
    return figure(title, svg(HEIGHT, f"{title}. {_spread_said(samples, x_label)}", parts), names_of(samples), bars=True)


def bin_edges(values: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Return the edges of at most ``bins`` equal bins of a round width that hold all values."""
    low, high = float(values.min()), float(values.max())
    ticks = nice_ticks(low, high)
    step = ticks[1] - ticks[0]
    for parts in (10, 5, 4, 2, 1):
        width = step / parts
        first, last = int(np.floor(low / width + 1e-9)), int(np.ceil(high / width - 1e-9))
        if last - first <= bins:
            break
    edges = np.arange(first, max(last, first + 1) + 1, dtype=np.float64) * width
    # Rounding may leave the outermost values a hair outside.
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
    return edges


def names_of(samples: Sequence[tuple[str, Sequence[float]]]) -> list[str]:
    """Return the names of samples, each with how many values it has."""
    return [f"{name} ({len(values)})" for name, values in samples]


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
        return figure(title, NOTHING, [])
    scale = _BAR_ROOM / max(largest, _TINY)
    row_height = _BAR_LABEL + _BAR * len(series) + _BAR_GAP
    height = row_height * len(rows)
    parts = []
    for place, row in enumerate(rows):
        parts.append(text("label", 0, place * row_height + _BAR_LABEL / 2, row.label))
        top = place * row_height + _BAR_LABEL
        parts += [
            _bar(top + number * _BAR, number, max(value * scale, 1.0), value_format(value))
            for number, value in enumerate(row.values)
            if value is not None
        ]
    return figure(title, svg(height, f"{title}. {_rows_said(series, rows, value_format)}", parts), series, bars=True)


def _line(
    plane: Plane, number: int, series: Series, y_format: Callable[[float], str], *, markers: bool
) -> list[Markup]:
    style = number % SERIES_STYLES
    strokes, pen_down = [], False
    for x, y in series.points:
        if y is not None:
            strokes.append(f"{'L' if pen_down else 'M'}{n(plane.x(x))} {n(plane.y(y))}")
        pen_down = y is not None
    parts = [Markup('<path class="line series-{}" d="{}"/>').format(style, " ".join(strokes))]
    if markers and len(strokes) <= _MOST_MARKERS:
        dot = Markup('<circle class="dot series-{}" cx="{}" cy="{}" r="3"><title>{}</title></circle>')
        parts += [
            dot.format(style, n(plane.x(x)), n(plane.y(y)), f"{series.name}, {x:g}: {y_format(y)}")
            for x, y in series.points
            if y is not None
        ]
    return parts


def _bar(top: float, number: int, length: float, value: str) -> Markup:
    bar = Markup('<rect class="bar series-{}" x="0" y="{}" width="{}" height="{}" rx="1.5"/>').format(
        number % SERIES_STYLES, n(top + 1), n(length), _BAR - 2
    )
    return bar + text("tick", length + 6, top + _BAR / 2, value)


def _columns(
    plane: Plane, edges: NDArray[np.float64], shares: NDArray[np.float64], number: int, of: int
) -> list[Markup]:
    """Draw the columns of one sample; in every bin, samples stand beside each other."""
    column = Markup('<rect class="bar series-{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>')
    parts = []
    for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
        left, right = plane.x(float(low)), plane.x(float(high))
        gap = (right - left) * _COLUMN_GAP_SHARE / 2
        width = (right - left - 2 * gap) / of
        if share > 0:
            top = plane.y(float(share))
            words = f"{low:g} to {high:g}: {share:.1f} %"
            left += gap + width * number
            parts.append(column.format(number % SERIES_STYLES, n(left), n(top), n(width), n(plane.y(0.0) - top), words))
    return parts


def _mark(x: float, top: float, floor: float, name: str) -> Markup:
    """Draw a vertical line; its name is a tooltip, since two marks may lie close together."""
    return Markup('<path class="mark" d="M{0} {1}V{2}"><title>{3}</title></path>').format(
        n(x), n(top - 6), n(floor), name
    )


def _spread_said(samples: Sequence[tuple[str, Sequence[float]]], x_label: str) -> str:
    said = [f"{name}: {min(values):g} to {max(values):g}" for name, values in samples if len(values)]
    return f"{x_label}, {'; '.join(said)}."


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
