"""`bevformer lint`: whether a chip's converter will take a graph."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bevformer_lib.errors import ExportError

if TYPE_CHECKING:
    from bevformer_lib.export.lint.findings import Finding, LintReport


def command(
    model: Path,
    /,
    *,
    target: str,
    waive: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Check every operator, attribute, shape and type of an ONNX graph against what a chip's converter accepts.

    Exits with 1 where an error remains.

    Args:
        model: the .onnx file.
        target: the chip: AX650, AX620E, AX615, AX637, M57, M76H, AX8850 or AX8860.
        waive: a finding to let pass: RULE everywhere, or RULE:NODE; may be given several times.
        as_json: print one JSON object instead of text.
    """
    from bevformer_lib.export.chip import load_chip
    from bevformer_lib.export.lint.findings import parse_waivers
    from bevformer_lib.export.lint.rules import RULES
    from bevformer_lib.export.lint.run import lint, read_graph

    chip = load_chip(target)
    waivers = parse_waivers(waive, list(RULES))
    graph = read_graph(model)
    report = lint(graph, chip, waivers=waivers)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(model, report), indent=1) + "\n")
    else:
        if report.findings or report.waived:
            sys.stdout.write(findings_text(report) + "\n")
        for waiver in report.unused_waivers:
            sys.stdout.write(f"waived without need: {waiver}\n")
        sys.stdout.write(_summary(model, report, len(graph.graph.node)) + "\n")
    if report.errors:
        raise ExportError(
            f"{model}: the converter for {chip.name} won't accept the graph (errors: {len(report.errors)})"
        )


def findings_text(report: LintReport) -> str:
    """Return four lines per finding, the waived ones last; nodes and tensors by their whole names."""
    return "\n".join(
        f"{'waived' if finding in report.waived else finding.severity.value}: [{finding.rule}] {finding.place}\n"
        f"  why: {finding.why}\n  known: {finding.evidence}\n  what to do: {finding.advice}"
        for finding in (*report.findings, *report.waived)
    )


def _summary(model: Path, report: LintReport, nodes: int) -> str:
    counts = f"errors: {len(report.errors)}, warnings: {len(report.warnings)}, waived: {len(report.waived)}"
    return f"{model} for {report.chip}: nodes: {nodes}, {counts}"


def _as_json(model: Path, report: LintReport) -> dict[str, object]:
    return {
        "model": str(model),
        "target": report.chip,
        "errors": len(report.errors),
        "warnings": len(report.warnings),
        "findings": [_finding_as_json(finding, waived=False) for finding in report.findings]
        + [_finding_as_json(finding, waived=True) for finding in report.waived],
        "unused_waivers": [str(waiver) for waiver in report.unused_waivers],
    }


def _finding_as_json(finding: Finding, *, waived: bool) -> dict[str, object]:
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "waived": waived,
        "node": finding.node,
        "operator": finding.operator,
        "why": finding.why,
        "advice": finding.advice,
        "evidence": {"level": finding.evidence.level.value, "version": finding.evidence.version},
    }
