"""The charts of a report's optional sections, and sentences about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from markupsafe import Markup

from bevformer_lib.detections.types import SceneEvaluation
from bevformer_lib.report import numbers
from bevformer_lib.report.charts import Bars, Series, bar_chart, histogram, line_chart
from bevformer_lib.report.lineage import lineage_graph
from bevformer_lib.report.sections import (
    Breakdown,
    CoverageQuantity,
    CoverageSection,
    LatencySamples,
    PrecisionRecall,
    ReportSections,
)

FEWEST_FOR_HISTOGRAM: Final = 10
"""With fewer frames than this a histogram shows nothing that the table does not."""

_COVERAGE_BINS: Final = 16


def section_views(
    sections: ReportSections, evaluations: Sequence[SceneEvaluation], names: tuple[str, str]
) -> Mapping[str, Any]:
    """Return every drawing that the template shows, by its name there.

    Args:
        sections: what is there.
        evaluations: for the latencies that were measured in them.
        names: of the reference and the candidate.
    """
    metrics, coverage = sections.metrics, sections.coverage
    latencies = [*evaluation_latencies(evaluations, names), *(sections.latencies or ())]
    return {
        "class_chart": class_chart(metrics.by_class, names) if metrics and metrics.by_class else None,
        "curve_charts": curve_charts(metrics.curves, names) if metrics and metrics.curves else (),
        "coverage_charts": [coverage_chart(quantity) for quantity in coverage.quantities] if coverage else (),
        "coverage_gaps": coverage_gaps(coverage) if coverage else (),
        "latency_histograms": [latency_histogram(one) for one in latencies if len(one.seconds) >= FEWEST_FOR_HISTOGRAM],
        "lineage": lineage_graph(sections.lineage) if sections.lineage else None,
    }


def class_chart(by_class: Breakdown, names: tuple[str, str]) -> Markup:
    """Draw a pair of bars for every class."""
    rows = [Bars(score.name.replace("_", " "), (score.reference, score.candidate)) for score in by_class.scores]
    return bar_chart(by_class.title, names, rows, value_format=numbers.decimals)


def curve_charts(curves: Sequence[PrecisionRecall], names: tuple[str, str]) -> tuple[Markup, ...]:
    """Draw precision over recall for every class, both models in one chart."""
    return tuple(
        line_chart(
            curve.class_name.replace("_", " "),
            [Series(name, points) for name, points in zip(names, (curve.reference, curve.candidate), strict=True)],
            x_label="recall",
            y_label="precision",
            y_format=numbers.decimals,
            x_whole=False,
            x_range=(0.0, 1.0),
            y_from_zero=True,
            y_limit=1.0,
            y_to_limit=True,
            markers=False,
        )
        for curve in curves
    )


def coverage_chart(quantity: CoverageQuantity) -> Markup:
    """Draw how a quantity is spread in the calibration set and in all scenes."""
    return histogram(
        quantity.name,
        (("calibration", quantity.calibration), ("all scenes", quantity.scenes)),
        x_label=f"{quantity.name.lower()}, {quantity.unit}" if quantity.unit else quantity.name.lower(),
        bins=_COVERAGE_BINS,
    )


def coverage_gaps(coverage: CoverageSection) -> list[str]:
    """Say, for every quantity, how many frames lie beyond what the calibration set holds."""
    said = []
    for quantity in coverage.quantities:
        if not len(quantity.calibration) or not len(quantity.scenes):
            continue
        low, high = min(quantity.calibration), max(quantity.calibration)
        values = np.asarray(quantity.scenes, dtype=np.float64)
        outside = float(np.mean((values < low) | (values > high)))
        unit = f"\u202f{quantity.unit}" if quantity.unit else ""
        spread = f"{numbers.significant(low)} to {numbers.significant(high)}{unit}".replace("-", "\u2212")
        share = f"{numbers.share(outside)} of all frames lie" if outside else "no frame lies"
        said.append(f"{quantity.name}: {share} outside the {spread} that the samples span.")
    return said


def evaluation_latencies(evaluations: Sequence[SceneEvaluation], names: tuple[str, str]) -> list[LatencySamples]:
    """Return both models' seconds per frame, without the scenes' first frames (warm-up)."""
    warm = [frame.seconds for evaluation in evaluations for frame in evaluation.frames[1:]]
    return [
        LatencySamples(names[0], [seconds.reference for seconds in warm]),
        LatencySamples(names[1], [seconds.candidate for seconds in warm]),
    ]


def latency_histogram(samples: LatencySamples) -> Markup:
    """Draw how the time per frame is spread, with median and 95th percentile."""
    milliseconds = [seconds * 1000 for seconds in samples.seconds]
    median, p95 = np.percentile(milliseconds, (50, 95)).tolist()
    return histogram(
        f"Time per frame, {samples.name}: median {numbers.seconds(median / 1000)}, "
        f"95\u202f% below {numbers.seconds(p95 / 1000)}",
        ((samples.name, milliseconds),),
        x_label="time per frame, ms",
        marks=(("median", median), ("95th percentile", p95)),
    )
