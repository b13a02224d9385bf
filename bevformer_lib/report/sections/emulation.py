"""What the emulated converter does to the numbers, in both bounds, and what is uncertain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bevformer_lib.emulator.emulation import Emulation
from bevformer_lib.metrics.metric_types import DetectionMetrics
from bevformer_lib.report.content import ReportContent, Section


def _view(content: ReportContent) -> Mapping[str, Any] | None:
    found = content.find(Emulation)
    if not found:
        return None
    metrics = content.find(DetectionMetrics)
    bounds = []
    if len(metrics) > 1:
        reference, candidate = metrics[:2]
        bounds = [
            ("float", reference.mean_ap, reference.nds),
            ("emulation, all tensors rounded", candidate.mean_ap, candidate.nds),
            ("emulation, movement operators not rounded", found[0].optimistic_map, found[0].optimistic_nds),
        ]
    return {"emulation": found[0], "bounds": bounds}


SECTION = Section(place=35, title="What the emulated NPU computes", view=_view)
