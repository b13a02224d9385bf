"""nuScenes' detection metric of both models: NDS, mAP, errors, cuts by class, distance and scene, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bevformer_lib.metrics.metric_types import ANNOTATIONS, ClassMetrics, DetectionMetrics
from bevformer_lib.report import numbers
from bevformer_lib.report.charts import Bars, Series, bar_chart, line_chart
from bevformer_lib.report.content import ReportContent, Section

CURVES_DISTANCE_M: Final = 2.0
"""The distance of the curves that are shown: nuScenes' own for true positives."""
_ERRORS: Final = (
    ("mATE", "translation", "m"),
    ("mASE", "scale", ""),
    ("mAOE", "orientation", "rad"),
    ("mAVE", "velocity", "m/s"),
    ("mAAE", "attribute", ""),
)


@dataclass(frozen=True)
class Score:
    """One number of both models, a row of a table.

    Attributes:
        name: of the metric, class, distance band or scene.
        reference: ``None``: undefined.
        candidate: ``None``: undefined.
        higher_is_better: false for errors.
        unit: written behind the numbers; empty for none.
    """

    name: str
    reference: float | None
    candidate: float | None
    higher_is_better: bool = True
    unit: str = ""

    @property
    def change(self) -> float | None:
        """Candidate minus reference; ``None`` where either is undefined."""
        return None if self.reference is None or self.candidate is None else self.candidate - self.reference

    @property
    def got_worse(self) -> bool:
        """Whether the candidate is behind the reference."""
        change = self.change or 0.0
        return change < 0.0 if self.higher_is_better else change > 0.0


def _view(content: ReportContent) -> Mapping[str, Any] | None:
    both = content.find(DetectionMetrics)
    if not both:
        return None
    reference, candidate = both
    annotated = [name for name, metrics in candidate.classes.items() if metrics.ground_truth]
    classes = [Score(name, reference.classes[name].ap, candidate.classes[name].ap) for name in annotated]
    return {
        "truth": None if candidate.truth == ANNOTATIONS else candidate.truth,
        "frames": candidate.frames,
        "headline": headline_scores(reference, candidate),
        "by_class": classes,
        "by_distance": [
            Score(f"{one.nearest_m:g} to {one.farthest_m:g} m", before.metrics.mean_ap, one.metrics.mean_ap)
            for before, one in zip(reference.bands, candidate.bands, strict=True)
        ],
        "by_scene": [
            Score(name, reference.scenes[name].mean_ap, scene.mean_ap) for name, scene in candidate.scenes.items()
        ],
        "class_chart": bar_chart(
            "Average precision by class",
            content.names,
            [Bars(numbers.words(score.name), (score.reference, score.candidate)) for score in classes],
            value_format=numbers.decimals,
        ),
        "curve_charts": [
            line_chart(
                numbers.words(name),
                [
                    Series(title, curve_points(metrics.classes[name], metrics.recall_grid))
                    for title, metrics in zip(content.names, both, strict=True)
                ],
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
            for name in annotated
            if any(curve_points(metrics.classes[name], metrics.recall_grid) for metrics in both)
        ],
        "curves_distance_m": CURVES_DISTANCE_M,
    }


def headline_scores(reference: DetectionMetrics, candidate: DetectionMetrics) -> list[Score]:
    """Return NDS, mAP and the true-positive errors of both models."""
    return [
        Score("NDS", reference.nds, candidate.nds),
        Score("mAP", reference.mean_ap, candidate.mean_ap),
        *(
            Score(name, getattr(reference.errors, field), getattr(candidate.errors, field), False, unit)
            for name, field, unit in _ERRORS
        ),
    ]


def curve_points(metrics: ClassMetrics, recall_grid: Sequence[float]) -> list[tuple[float, float]]:
    """Return (recall, precision) as far as the class was found."""
    (curve,) = (curve for curve in metrics.curves if curve.match_distance_m == CURVES_DISTANCE_M)
    return [
        (recall, precision)
        for recall, precision, confidence in zip(recall_grid, curve.precision, curve.confidence, strict=True)
        if confidence > 0.0
    ]


SECTION = Section(place=80, title="Metrics", view=_view)
