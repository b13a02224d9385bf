"""What was measured, in the terms of the report's optional sections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bevformer_lib.calibration.coverage import CalibrationCoverage
from bevformer_lib.evaluate import score_shift
from bevformer_lib.evaluate.tensors import TensorSummary
from bevformer_lib.metrics.metric_types import (
    ANNOTATIONS,
    ClassMetrics,
    DetectionMetrics,
    SubsetMetrics,
)
from bevformer_lib.report.sections import (
    Breakdown,
    CoverageQuantity,
    CoverageSection,
    MetricSection,
    PrecisionRecall,
    Score,
    ScoreShift,
    TensorFidelity,
)

CURVES_DISTANCE_M: Final = 2.0
"""The distance of the curves that are shown: nuScenes' own for true positives."""
_ERRORS: Final = (
    ("mATE", "translation", "m"),
    ("mASE", "scale", ""),
    ("mAOE", "orientation", "rad"),
    ("mAVE", "velocity", "m/s"),
    ("mAAE", "attribute", ""),
)


def metric_section(reference: DetectionMetrics, candidate: DetectionMetrics) -> MetricSection:
    """Return NDS, mAP, errors, cuts and curves of both models.

    Args:
        reference: of the float model.
        candidate: of the compiled one, over the same frames and against the same truth.
    """
    if candidate.truth == ANNOTATIONS:
        measured = f"Scored against the annotations of {candidate.frames} frames, as nuscenes-devkit does."
    else:
        measured = f"No annotations: scored against {candidate.truth}."
    annotated = [name for name, metrics in candidate.classes.items() if metrics.ground_truth]

    def cut(title: str, parts_of: Callable[[DetectionMetrics], dict[str, SubsetMetrics]]) -> Breakdown:
        expected, found = parts_of(reference), parts_of(candidate)
        return Breakdown(title, [Score(name, expected[name].mean_ap, part.mean_ap) for name, part in found.items()])

    return MetricSection(
        measured_against=measured,
        headline=[
            Score("NDS", reference.nds, candidate.nds),
            Score("mAP", reference.mean_ap, candidate.mean_ap),
            *(
                Score(name, getattr(reference.errors, field), getattr(candidate.errors, field), False, unit)
                for name, field, unit in _ERRORS
            ),
        ],
        by_class=Breakdown(
            "Average precision by class",
            [Score(name, reference.classes[name].ap, candidate.classes[name].ap) for name in annotated],
        ),
        breakdowns=[
            cut("mAP by distance", _bands),
            cut("mAP by scene", lambda metrics: dict(metrics.scenes)),
        ],
        curves=[
            PrecisionRecall(
                name,
                _points(reference.classes[name], reference.recall_grid),
                _points(candidate.classes[name], candidate.recall_grid),
            )
            for name in annotated
        ],
        curves_distance_m=CURVES_DISTANCE_M,
    )


def tensor_rows(summaries: Sequence[TensorSummary]) -> tuple[TensorFidelity, ...]:
    """Return a row per tensor."""
    return tuple(
        TensorFidelity(one.name, one.mean_cosine, one.mean_relative_error, one.max_abs_error, one.mean_sqnr_db)
        for one in summaries
    )


def score_shift_rows(shifts: Sequence[score_shift.ScoreShift]) -> tuple[ScoreShift, ...]:
    """Return a row per class that has a pair."""
    return tuple(
        ScoreShift(one.class_name, one.pairs, one.mean, None if one.largest is None else abs(one.largest))
        for one in shifts
        if one.pairs
    )


def coverage_section(coverage: CalibrationCoverage) -> CoverageSection:
    """Return what a calibration set saw of the scenes."""
    return CoverageSection(
        scenes_sampled=coverage.scenes_sampled,
        scenes_total=coverage.scenes_total,
        quantities=[CoverageQuantity(one.name, one.unit, one.calibration, one.scenes) for one in coverage.quantities],
    )


def _bands(metrics: DetectionMetrics) -> dict[str, SubsetMetrics]:
    return {f"{band.nearest_m:g} to {band.farthest_m:g} m": band.metrics for band in metrics.bands}


def _points(metrics: ClassMetrics, recall_grid: Sequence[float]) -> list[tuple[float, float]]:
    """Return (recall, precision) as far as the class was found."""
    (curve,) = (curve for curve in metrics.curves if curve.match_distance_m == CURVES_DISTANCE_M)
    return [
        (recall, precision)
        for recall, precision, confidence in zip(recall_grid, curve.precision, curve.confidence, strict=True)
        if confidence > 0.0
    ]
