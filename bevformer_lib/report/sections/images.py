"""Frames to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bevformer_lib.report.content import ReportContent, Section


def _view(content: ReportContent) -> Mapping[str, Any] | None:
    return {"images": content.images} if content.images else None


SECTION = Section(place=100, title="Images", view=_view)
