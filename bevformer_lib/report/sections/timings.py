"""Time per frame: of every stage, and how both models' times are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from markupsafe import Markup

from bevformer_lib.detections.types import SceneEvaluation
from bevformer_lib.evaluate.summary import STAGES
from bevformer_lib.report import numbers
from bevformer_lib.report.charts import Bars, bar_chart, histogram
from bevformer_lib.report.content import ReportContent, Section

FEWEST_FOR_HISTOGRAM: Final = 10
"""With fewer frames than this a histogram shows nothing that the table does not."""


def _view(content: ReportContent) -> Mapping[str, Any]:
    stages = zip(("reading images", *content.names), STAGES, strict=True)
    rows = [(name, content.summary.latency[stage]) for name, stage in stages]
    bars = [Bars(name, (one.median_s, one.p95_s) if one else (None, None)) for name, one in rows]
    return {
        "rows": rows,
        "chart": bar_chart("Time per frame", ("median", "95th percentile"), bars, value_format=numbers.seconds),
        "histograms": latency_histograms(content.evaluations, content.names),
    }


def latency_histograms(evaluations: Sequence[SceneEvaluation], names: tuple[str, str]) -> list[Markup]:
    """Draw how each model's time per frame is spread, scenes' first frames (warm-up) left out."""
    warm = [frame.seconds for evaluation in evaluations for frame in evaluation.frames[1:]]
    if len(warm) < FEWEST_FOR_HISTOGRAM:
        return []
    drawn = []
    reference = [one.reference for one in warm if one.reference is not None]
    for name, seconds in zip(names, (reference, [one.candidate for one in warm]), strict=True):
        if not seconds:
            continue
        median, p95 = np.percentile(seconds, (50, 95)).tolist()
        drawn.append(
            histogram(
                f"Time per frame, {name}: median {numbers.seconds(median)}, 95\u202f% below {numbers.seconds(p95)}",
                ((name, [one * 1000 for one in seconds]),),
                x_label="time per frame, ms",
                marks=(("median", median * 1000), ("95th percentile", p95 * 1000)),
            )
        )
    return drawn


SECTION = Section(place=90, title="Timings", view=_view)
