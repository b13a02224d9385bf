"""The calibration set, and what it saw of the scenes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bevformer_lib.calibration.coverage import CalibrationCoverage, QuantityCoverage
from bevformer_lib.report import numbers
from bevformer_lib.report.charts import histogram
from bevformer_lib.report.content import ReportContent, Section

_BINS: Final = 16


def _view(content: ReportContent) -> Mapping[str, Any] | None:
    by_scene, coverage = content.fact("samples_by_scene"), content.find(CalibrationCoverage)
    if by_scene is None and not coverage:
        return None
    plan = content.parameter("plan") or {}
    quantities = coverage[0].quantities if coverage else ()
    return {
        "by_scene": by_scene,
        "samples": plan.get("num_samples"),
        "first_frames": content.fact("first_frames"),
        "seed": plan.get("seed"),
        "coverage": coverage[0] if coverage else None,
        "gaps": [said for one in quantities if (said := coverage_gap(one))],
        "charts": [
            histogram(
                one.name,
                (("calibration", one.calibration), ("all scenes", one.scenes)),
                x_label=f"{one.name.lower()}, {one.unit}",
                bins=_BINS,
            )
            for one in quantities
        ],
    }


def coverage_gap(quantity: QuantityCoverage) -> str:
    """Say how many frames lie beyond what the calibration set holds; empty where that is not known."""
    within = quantity.share_within
    if within is None:
        return ""
    spread = " to ".join(numbers.significant(end(quantity.calibration)) for end in (min, max)).replace("-", "\u2212")
    beyond = f"{numbers.percent(1.0 - within)} of all frames lie" if within < 1.0 else "no frame lies"
    return f"{quantity.name}: {beyond} outside the {spread}\u202f{quantity.unit} that the samples span."


SECTION = Section(place=30, title="Calibration", view=_view)
