"""What a converter built, by its own facts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from bevformer_lib.report.content import ReportContent, Section


def _view(content: ReportContent) -> Mapping[str, Any] | None:
    facts = content.conversion
    if facts is None:
        return None
    operators = facts["precision_table"]
    return {
        "facts": facts,
        "types": sorted(Counter(one["quantized_dtype"] for one in operators).items()),
        "operators": sorted(operators, key=lambda one: math.inf if one["cosine"] is None else one["cosine"]),
    }


SECTION = Section(place=40, title="What the converter built", view=_view)
