"""What was made from what, and what this build had to do again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bevformer_lib.report.content import ReportContent, Section
from bevformer_lib.report.lineage import lineage, lineage_graph


def _view(content: ReportContent) -> Mapping[str, Any] | None:
    if not content.steps:
        return None
    return {"graph": lineage_graph(lineage(content.steps)), "steps": content.steps}


SECTION = Section(place=110, title="Ancestry", view=_view)
