"""The policy's verdict: which gates hold, the failed ones first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bevformer_lib.gates.judge import Verdict
from bevformer_lib.report.content import ReportContent, Section


def _view(content: ReportContent) -> Mapping[str, Any] | None:
    for verdict in content.find(Verdict):
        if verdict.results:
            return {"gates": verdict, "results": sorted(verdict.results, key=lambda one: one.passed is not False)}
    return None


SECTION = Section(place=10, title="Gates", view=_view)
