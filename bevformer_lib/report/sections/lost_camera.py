"""What both models still find when one camera shows nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bevformer_lib.metrics.lost_camera import LostCamera
from bevformer_lib.metrics.metric_types import ANNOTATIONS, DetectionMetrics
from bevformer_lib.report import numbers
from bevformer_lib.report.charts import Bars, bar_chart
from bevformer_lib.report.content import ReportContent, Section

SMALLEST_CHANGE: Final = 0.01
"""Classes whose AP changes by less without any camera are named, not shown."""


def _view(content: ReportContent) -> Mapping[str, Any] | None:
    lost, both = content.find(LostCamera), content.find(DetectionMetrics)
    if not lost or not both:
        return None
    reference, candidate = both
    changes = {
        name: [one.candidate.classes[name].ap - metrics.ap for one in lost]
        for name, metrics in candidate.classes.items()
        if metrics.ground_truth
    }
    told = {name: row for name, row in changes.items() if max(map(abs, row)) >= SMALLEST_CHANGE}
    bars = [Bars("all six" if len(lost) == 6 else "all", (reference.mean_ap, candidate.mean_ap))]
    bars += [Bars(short_camera(one.camera), (one.reference.mean_ap, one.candidate.mean_ap)) for one in lost]
    return {
        "truth": None if candidate.truth == ANNOTATIONS else candidate.truth,
        "reference": reference,
        "candidate": candidate,
        "lost": lost,
        "cameras": [short_camera(one.camera) for one in lost],
        "classes": {name: (candidate.classes[name].ap, row) for name, row in told.items()},
        "unmoved": [name for name in changes if name not in told],
        "smallest_change": SMALLEST_CHANGE,
        "chart": bar_chart("mAP with one camera black", content.names, bars, value_format=numbers.decimals),
    }


def short_camera(name: str) -> str:
    """Return a camera's name for narrow columns: ``front left``."""
    return numbers.words(name.removeprefix("CAM_").lower())


SECTION = Section(place=85, title="A camera lost", view=_view)
