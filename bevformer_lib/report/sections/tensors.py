"""Fidelity of tensors inside the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bevformer_lib.evaluate.tensors import TensorSummary
from bevformer_lib.report.content import ReportContent, Section


def _view(content: ReportContent) -> Mapping[str, Any] | None:
    tensors = content.find(TensorSummary)
    return {"tensors": tensors} if tensors else None


SECTION = Section(place=60, title="Inside the network", view=_view)
