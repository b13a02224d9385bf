from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from bevformer_lib.report.charts import Bars, Series, bar_chart, bin_edges, histogram, line_chart
from bevformer_lib.report.svg import nice_ticks


def parse(markup: str) -> ET.Element:
    return ET.fromstring(markup)  # noqa: S314 (our own markup)


def draw(*series: Series, **options: object) -> ET.Element:
    arguments = {"x_label": "frame", "y_label": "cosine", "y_format": "{:.3f}".format} | options
    return parse(line_chart("Drift", series, **arguments))


@pytest.mark.parametrize(
    ("low", "high", "options", "expected"),
    [
        (0, 11, {"whole": True}, [0, 5, 10, 15]),
        (0, 3, {"whole": True}, [0, 1, 2, 3]),
        (0, 0, {"whole": True}, [0, 1]),
        (0.0, 2.18, {}, [0, 0.5, 1, 1.5, 2, 2.5]),
        (0.99972, 0.99999, {"limit": 1.0}, [0.9997, 0.9998, 0.9999, 1.0]),
        (1.0, 1.0, {"limit": 1.0}, [0.99, 0.992, 0.994, 0.996, 0.998, 1.0]),
    ],
)
def test_ticks_are_round_and_enclose(low: float, high: float, options: dict, expected: list[float]) -> None:
    assert nice_ticks(low, high, **options) == pytest.approx(expected)


def test_line_chart_has_title_axes_legend_and_words() -> None:
    figure = draw(Series("a & <b>", [(0, 0.9), (1, 0.8)]), Series("c", [(0, 0.7), (1, 0.6)]))
    assert figure.findtext("figcaption") == "Drift"
    assert "from 0.600 to 0.900" in figure.find("svg").get("aria-label")
    texts = [element.text for element in figure.iter("text")]
    assert {"frame", "cosine", "0", "1", "0.6", "0.9"} <= set(texts)
    assert [item.text or item[0].tail for item in figure.iter("li")] == ["a & <b>", "c"]
    assert [line.get("class") for line in figure.find("svg").iter("path")] == ["line series-0", "line series-1"]


@pytest.mark.parametrize("value", [1.0, 1.0 - 1e-12, 1.0 - 1e-5])
def test_values_just_below_the_limit_are_drawn(value: float) -> None:
    ticks = nice_ticks(value, value, limit=1.0)
    assert len(ticks) > 1
    assert ticks[-1] <= 1.0
    assert draw(Series("a", [(0, value), (1, value)]), y_limit=1.0).find("svg") is not None


def test_points_lie_where_their_values_are() -> None:
    figure = draw(Series("a", [(0, 0.0), (5, 0.5), (10, 1.0)]))
    circles = [(float(c.get("cx")), float(c.get("cy"))) for c in figure.iter("circle")]
    ticks = {t.text: float(t.get("y")) for t in figure.iter("text") if t.get("class") == "tick"}
    assert circles[0][1] == ticks["0.0"]
    assert circles[2][1] == ticks["1.0"]
    assert circles[1] == pytest.approx(
        ((circles[0][0] + circles[2][0]) / 2, (ticks["0.0"] + ticks["1.0"]) / 2), abs=0.02
    )


def test_a_missing_value_is_a_gap() -> None:
    figure = draw(Series("a", [(0, 0.5), (1, None), (2, 0.4), (3, 0.3)]))
    path = figure.find("svg/path").get("d")
    assert path.count("M") == 2 and path.count("L") == 1
    assert len(list(figure.iter("circle"))) == 3


def test_one_point_and_none_can_be_drawn() -> None:
    assert len(list(draw(Series("a", [(0, 1.0)]), y_limit=1.0).iter("circle"))) == 1
    assert "No values" in draw(Series("a", [(0, None)])).findtext("p")


def test_many_points_are_drawn_without_markers() -> None:
    figure = draw(Series("a", [(x, x / 500) for x in range(500)]))
    assert list(figure.iter("circle")) == []


def test_bars_are_in_proportion_and_labelled() -> None:
    rows = [Bars("float", (2.0, 4.0)), Bars("int8", (1.0, None))]
    figure = parse(bar_chart("Time", ("median", "p95"), rows, value_format="{:.1f} s".format))
    widths = [float(r.get("width")) for r in figure.find("svg").iter("rect")]
    assert widths == pytest.approx([widths[2] * 2, widths[2] * 4, widths[2]])
    assert {"float", "int8", "2.0 s", "4.0 s", "1.0 s"} == {t.text for t in figure.iter("text")}
    assert "int8: median 1.0 s, p95 –." in figure.find("svg").get("aria-label")  # noqa: RUF001
    assert "No values" in parse(bar_chart("Time", ("a",), [Bars("b", (None,))], value_format=str)).findtext("p")


def test_histogram_columns_are_shares_of_each_sample() -> None:
    samples = (("calibration", [0.5, 0.5, 1.5, 3.5]), ("all", [0.5] * 10))
    drawn = parse(histogram("Speed", samples, x_label="m/s", bins=4, marks=[("p50", 1.0)]))
    columns = {}
    for rect in drawn.find("svg").iter("rect"):
        columns.setdefault(rect.get("class"), {})[rect.findtext("title")] = float(rect.get("height"))
    assert columns["bar series-0"].keys() == {"0 to 1: 50.0 %", "1 to 2: 25.0 %", "3 to 4: 25.0 %"}
    assert columns["bar series-1"].keys() == {"0 to 1: 100.0 %"}
    assert columns["bar series-1"]["0 to 1: 100.0 %"] == pytest.approx(2 * columns["bar series-0"]["0 to 1: 50.0 %"])
    assert [item[0].tail for item in drawn.iter("li")] == ["calibration (4)", "all (10)"]
    assert [mark.findtext("title") for mark in drawn.iter("path") if mark.get("class") == "mark"] == ["p50"]
    assert "No values" in parse(histogram("Speed", (("a", []),), x_label="m/s")).findtext("p")


@pytest.mark.parametrize(
    "values",
    [[0.0], [5.0, 5.0], [0.1, 0.9], [-3.0, 12.0], [8.0, 8.0 + 1e-14], [-1e-14, 1e-13], [1e-4, 2e-4], list(range(1000))],
)
def test_bins_hold_every_value(values: list[float]) -> None:
    edges = bin_edges(np.array(values), 24)
    assert 2 <= len(edges) <= 25
    assert np.histogram(values, edges)[0].sum() == len(values)
    assert np.allclose(np.diff(edges), edges[1] - edges[0])


def test_a_share_axis_keeps_its_range() -> None:
    figure = draw(Series("car", [(0.2, 1.0), (0.4, 0.5)]), x_whole=False, x_range=(0.0, 1.0), y_limit=1.0)
    xs = [float(c.get("cx")) for c in figure.iter("circle")]
    ticks = {t.text: float(t.get("x")) for t in figure.iter("text") if t.get("text-anchor") == "middle"}
    assert xs == pytest.approx([ticks["0.2"], ticks["0.4"]])
    assert "1.0" in ticks
