"""The charts of a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from bevformer_lib.detections.types import SceneEvaluation
from bevformer_lib.evaluate.summary import STAGES, EvaluationSummary
from bevformer_lib.fidelity import Fidelity
from bevformer_lib.names import OUTPUT_BEV_EMBED
from bevformer_lib.report import numbers
from bevformer_lib.report.charts import Bars, Series, bar_chart, line_chart
from bevformer_lib.report.svg import SERIES_STYLES

_LONGEST_NAME = 18


def drift_charts(evaluations: Sequence[SceneEvaluation], summary: EvaluationSummary) -> tuple[Markup, ...]:
    """Draw cosine and relative error of ``bev_embed`` along the scenes: every scene, or mean and worst of many."""
    return (
        line_chart(
            "Cosine of bev_embed along a scene",
            _drift_series(
                evaluations,
                lambda fidelity: fidelity.cosine,
                mean=[(point.position, point.mean_cosine) for point in summary.drift],
                worst=[(point.position, point.worst_cosine) for point in summary.drift],
            ),
            x_label="frame of the scene",
            y_label="cosine",
            y_format=numbers.cosine,
            y_limit=1.0,
        ),
        line_chart(
            "Relative error of bev_embed along a scene",
            _drift_series(
                evaluations,
                _error_percent,
                mean=[(point.position, point.mean_relative_error * 100) for point in summary.drift],
                worst=[(point.position, point.worst_relative_error * 100) for point in summary.drift],
            ),
            x_label="frame of the scene",
            y_label="relative error, %",
            y_format=lambda percent: numbers.error(percent / 100),
            y_from_zero=True,
        ),
    )


def latency_chart(summary: EvaluationSummary, stage_names: Sequence[str]) -> Markup:
    """Draw median and 95th percentile of every stage."""
    found = [summary.latency[stage] for stage in STAGES]
    rows = [
        Bars(name, (latency.median_s, latency.p95_s) if latency else (None, None))
        for name, latency in zip(stage_names, found, strict=True)
    ]
    return bar_chart("Time per frame", ("median", "95th percentile"), rows, value_format=numbers.seconds)


def short_name(name: str) -> str:
    """Shorten a scene's name (often a 32-digit token) for a legend or a table."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:12]}…"


def _error_percent(fidelity: Fidelity) -> float | None:
    return None if fidelity.relative_error is None else fidelity.relative_error * 100


def _drift_series(
    evaluations: Sequence[SceneEvaluation],
    value: Callable[[Fidelity], float | None],
    *,
    mean: Sequence[tuple[float, float | None]],
    worst: Sequence[tuple[float, float | None]],
) -> list[Series]:
    if len(evaluations) > SERIES_STYLES:
        return [Series(f"mean of {len(evaluations)} scenes", mean), Series("worst scene", worst)]
    return [
        Series(
            short_name(evaluation.scene),
            [(position, value(frame.fidelity[OUTPUT_BEV_EMBED])) for position, frame in enumerate(evaluation.frames)],
        )
        for evaluation in evaluations
    ]
