"""Both models' boxes: what they have in common, precision and recall, how scores moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bevformer_lib.detections.types import ClassCounts
from bevformer_lib.evaluate.score_shift import score_shifts
from bevformer_lib.evaluate.summary import EvaluationSummary, total_counts
from bevformer_lib.report.content import ReportContent, Section

_NO_COUNTS: Final = ClassCounts(annotated=0, detected=0, matched=0)


def _view(content: ReportContent) -> Mapping[str, Any]:
    return {
        "truth_rows": _truth_rows(content.summary),
        "shifts": [shift for shift in score_shifts(content.evaluations) if shift.pairs],
    }


def _truth_rows(summary: EvaluationSummary) -> list[tuple[str, tuple[ClassCounts, ClassCounts]]]:
    """Pair both models' counts by class, all classes last."""
    if summary.truth is None:
        return []
    sides = (summary.truth.reference, summary.truth.candidate)
    rows = [
        (name, (sides[0].get(name, _NO_COUNTS), sides[1].get(name, _NO_COUNTS)))
        for name in summary.class_names
        if any(name in side for side in sides)
    ]
    return [*rows, ("all classes", (total_counts([a for _, (a, _) in rows]), total_counts([b for _, (_, b) in rows])))]


SECTION = Section(place=70, title="Detections", view=_view)
