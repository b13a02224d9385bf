"""Line, bar and column charts as inline SVG in a ``<figure>``: no script, no font, no request.

Lines differ by dash as well as by colour. Every value is in the text that stands for the image or in a tooltip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from bevformer_lib.report import numbers
from bevformer_lib.report.svg import Plane, figure, labelled, legend_of, nice_ticks, path, style, tag, text

_BAR, _BAR_ROOM, _BAR_LABEL, _BAR_GAP = 14, 400, 22, 14
_MOST_MARKERS = 40
_COLUMN_GAP = 0.12
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
    xs = [x for one in series for x, y in one.points if y is not None]
    ys = [y for one in series for _, y in one.points if y is not None]
    if not ys:
        return figure(title, "", [], Markup(""))
    first, last = x_range or (min(xs), max(xs))
    highest = y_limit if y_to_limit and y_limit is not None else max(ys)
    plane = Plane(
        (first, last if last > first else first + 1),
        labelled([tick for tick in nice_ticks(first, last, whole=x_whole) if first <= tick <= last]),
        labelled(nice_ticks(0.0 if y_from_zero else min(ys), highest, limit=y_limit)),
    )
    parts = plane.axes(x_label, y_label)
    for number, one in enumerate(series):
        places = [(plane.x(x), None if y is None else plane.y(y)) for x, y in one.points]
        parts.append(tag("path", class_=style("line", number), d=path(places)))
        drawn = [(x, y) for x, y in one.points if y is not None]
        if markers and len(drawn) <= _MOST_MARKERS:
            parts += [
                tag(
                    "circle",
                    tag("title", f"{one.name}, {x:g}: {y_format(y)}"),
                    class_=style("dot", number),
                    cx=plane.x(x),
                    cy=plane.y(y),
                    r=3,
                )
                for x, y in drawn
            ]
    said = f"{y_label} by {x_label}: from {y_format(min(ys))} to {y_format(max(ys))}."
    return figure(title, said, parts, legend_of([one.name for one in series], bars=False))


def histogram(
    title: str,
    samples: Sequence[tuple[str, Sequence[float]]],
    *,
    x_label: str,
    bins: int = 24,
    marks: Sequence[tuple[str, float]] = (),
) -> Markup:
    """Draw how values are spread, as the part of each sample (%) in a bin; several samples have the same bins.

    Args:
        title: heading.
        samples: (name, values), at most ``SERIES_STYLES``; one without values is named but not drawn.
        x_label: what is counted, with its unit.
        bins: how many columns at most.
        marks: (name, value) of vertical lines, such as a median.
    """
    arrays = [np.asarray(values, dtype=np.float64) for _, values in samples]
    if not sum(map(len, arrays)):
        return figure(title, "", [], Markup(""))
    edges = bin_edges(np.concatenate(arrays), bins).tolist()
    shares = [np.histogram(values, edges)[0] * (100.0 / max(len(values), 1)) for values in arrays]
    x_ticks = [tick for tick in nice_ticks(edges[0], edges[-1]) if edges[0] <= tick <= edges[-1]]
    y_ticks = nice_ticks(0.0, max(float(share.max()) for share in shares))
    plane = Plane((edges[0], edges[-1]), labelled(x_ticks), labelled(y_ticks))
    parts = plane.axes(x_label, "of all, %")
    for number, share in enumerate(shares):
        for low, high, value in zip(edges[:-1], edges[1:], share.tolist(), strict=True):
            width = (plane.x(high) - plane.x(low)) * (1 - _COLUMN_GAP)
            if value > 0:
                parts.append(
                    tag(
                        "rect",
                        tag("title", f"{low:g} to {high:g}: {value:.1f} %"),
                        class_=style("bar", number),
                        x=(plane.x(low) + plane.x(high) - width) / 2 + width / len(shares) * number,
                        y=plane.y(value),
                        width=width / len(shares),
                        height=plane.y(0.0) - plane.y(value),
                    )
                )
    for name, value in marks:  # its name is a tooltip, since two marks may lie close together
        ends = [(plane.x(value), plane.y(y_ticks[-1]) - 6), (plane.x(value), plane.y(0.0))]
        parts.append(tag("path", tag("title", name), class_="mark", d=path(ends)))
    spans = "; ".join(f"{name}: {min(values):g} to {max(values):g}" for name, values in samples if len(values))
    names = [f"{name} ({len(values)})" for name, values in samples]
    return figure(title, f"{x_label}, {spans}.", parts, legend_of(names, bars=True))


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
        return figure(title, "", [], Markup(""))
    scale = _BAR_ROOM / max(largest, _TINY)
    row_height = _BAR_LABEL + _BAR * len(series) + _BAR_GAP
    parts, said = [], []
    for place, row in enumerate(rows):
        parts.append(text("label", 0, place * row_height + _BAR_LABEL / 2, row.label))
        for number, value in enumerate(row.values):
            top = place * row_height + _BAR_LABEL + number * _BAR
            if value is not None:
                name, length = style("bar", number), max(value * scale, 1.0)
                parts.append(tag("rect", class_=name, x=0, y=top + 1, width=length, height=_BAR - 2, rx=1.5))
                parts.append(text("tick", length + 6, top + _BAR / 2, value_format(value)))
        values = (numbers.UNDEFINED if value is None else value_format(value) for value in row.values)
        said.append(f"{row.label}: " + ", ".join(map(" ".join, zip(series, values, strict=True))) + ".")
    return figure(title, " ".join(said), parts, legend_of(series, bars=True), height=row_height * len(rows))
