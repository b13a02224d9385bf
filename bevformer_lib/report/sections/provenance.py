"""Versions of everything that took part."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from bevformer_lib import __version__
from bevformer_lib.report.content import ReportContent, Section


def _view(content: ReportContent) -> Mapping[str, Any]:
    packages = sorted({one for record in content.records for one in record.step.packages.items()})
    return {
        "facts": [
            ("bevformer-axera", __version__, ""),
            ("Python", platform.python_version(), ""),
            ("Machine of the report", f"{platform.system()} {platform.machine()}", ""),
            *((name, version, "") for name, version in packages if not name.startswith("bevformer_lib")),
        ]
    }


SECTION = Section(place=120, title="Provenance", view=_view)
