"""Apply the rules to a graph, and the waivers to what they find."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import onnx

from bevformer_lib.errors import ExportError
from bevformer_lib.export.chip import Chip
from bevformer_lib.export.lint.facts import graph_facts
from bevformer_lib.export.lint.findings import Finding, LintReport, Severity, Waiver
from bevformer_lib.export.lint.rules import RULES
from bevformer_lib.onnx_file import load_onnx

_MAX_LISTED: Final = 20


def lint(model: onnx.ModelProto, chip: Chip, *, waivers: Sequence[Waiver] = ()) -> LintReport:
    """Check a graph against everything that is known of a chip's converter."""
    facts = graph_facts(model)
    found = [
        Finding(
            rule=name,
            severity=place.severity or rule.severity,
            node=place.node,
            operator=place.operator,
            why=place.why,
            advice=place.advice,
            evidence=place.evidence or rule.evidence,
        )
        for name, rule in RULES.items()
        for place in rule.check(model, facts, chip)
    ]
    waived = tuple(finding for finding in found if any(waiver.covers(finding) for waiver in waivers))
    kept = sorted(
        (finding for finding in found if finding not in waived),
        key=lambda finding: finding.severity is not Severity.ERROR,
    )
    unused = tuple(waiver for waiver in waivers if not any(waiver.covers(finding) for finding in waived))
    return LintReport(chip.name, tuple(kept), waived, unused)


def require_no_errors(report: LintReport, path: Path) -> None:
    """Raise where a graph has errors that are not waived.

    Raises:
        ExportError: listing the first errors.
    """
    if report.errors:
        listed = "".join(f"\n  - {finding}" for finding in report.errors[:_MAX_LISTED])
        more = f"\n  and {len(report.errors) - _MAX_LISTED} more" if len(report.errors) > _MAX_LISTED else ""
        raise ExportError(
            f"{path}: the converter for {report.chip} won't accept the graph:{listed}{more}\n"
            "change the model, or let a finding pass with --waive RULE or --waive RULE:NODE"
        )


def read_graph(path: Path) -> onnx.ModelProto:
    """Read a graph without the weights that it keeps in other files.

    Raises:
        ExportError: the file can't be read as ONNX.
    """
    try:
        return load_onnx(path, external=False)
    except ValueError as error:
        raise ExportError(f"{path} {error}") from error
