"""How close the outputs are, and how the error of ``bev_embed`` runs along the scenes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

from bevformer_lib.evaluate.summary import DriftPoint
from bevformer_lib.fidelity import Fidelity
from bevformer_lib.names import OUTPUT_BEV_EMBED
from bevformer_lib.report import numbers
from bevformer_lib.report.charts import Series, line_chart
from bevformer_lib.report.content import ReportContent, Section
from bevformer_lib.report.svg import SERIES_STYLES
from bevformer_lib.report.verdict import CLOSENESS


def _view(content: ReportContent) -> Mapping[str, Any]:
    return {"charts": drift_charts(content), "closeness": CLOSENESS}


def drift_charts(content: ReportContent) -> tuple[Markup, ...]:
    """Draw cosine and relative error of ``bev_embed`` along the scenes: every scene, or mean and worst of many."""
    return (
        line_chart(
            "Cosine of bev_embed along a scene",
            _series(content, "cosine", lambda value: value),
            x_label="frame of the scene",
            y_label="cosine",
            y_format=numbers.cosine,
            y_limit=1.0,
        ),
        line_chart(
            "Relative error of bev_embed along a scene",
            _series(content, "relative_error", lambda value: value * 100),
            x_label="frame of the scene",
            y_label="relative error, %",
            y_format=lambda percent: numbers.error(percent / 100),
            y_from_zero=True,
        ),
    )


def _series(content: ReportContent, name: str, scale: Callable[[float], float]) -> list[Series]:
    """Return lines of an attribute of :class:`Fidelity`, which :class:`DriftPoint` has as mean and worst."""

    def value(of: Fidelity | DriftPoint, attribute: str) -> float | None:
        found = getattr(of, attribute)
        return None if found is None else scale(found)

    if len(content.evaluations) > SERIES_STYLES:
        sides = {"mean": f"mean of {len(content.evaluations)} scenes", "worst": "worst scene"}
        drift = content.summary.drift
        return [
            Series(title, [(one.position, value(one, f"{side}_{name}")) for one in drift])
            for side, title in sides.items()
        ]
    return [
        Series(
            numbers.short_name(one.scene),
            [(position, value(frame.fidelity[OUTPUT_BEV_EMBED], name)) for position, frame in enumerate(one.frames)],
        )
        for one in content.evaluations
    ]


SECTION = Section(place=50, title="Fidelity", view=_view)
