"""`bevformer repair`: the rewrites of an export, for a graph that was made elsewhere."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.table import Table

    from bevformer_lib.export.lint.findings import LintReport
    from bevformer_lib.export.repair import RepairResult


def command(
    model: Path,
    /,
    *,
    output: Path,
    target: str = "AX650",
    input_shape: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Rewrite a graph that was made elsewhere so that a chip's converter takes it, and prove that it computes the same.

    Both graphs are run by ONNX Runtime and compared; where they differ nothing is written. What is still in the
    converter's way afterwards is printed.

    Args:
        model: the .onnx file.
        output: the .onnx file to write.
        target: the chip: AX650, AX620E, AX615, AX637, M57, M76H, AX8850 or AX8860.
        input_shape: shape of an input that the graph leaves open, NAME=1x6x3x480x800; may be given several times.
        as_json: print one JSON object instead of text.
    """
    from rich.console import Console

    from bevformer_lib.cli.lint import findings_text
    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.export.repair import repair_graph

    shapes = _shapes(input_shape)
    with progress_bar() as on_progress:
        result = repair_graph(model, output, target=target, input_shapes=shapes, on_progress=on_progress)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(model, result), indent=1) + "\n")
        return
    console = Console()
    console.print(result_table(result))
    for report in result.passes:
        for refusal in report.refusals:
            console.print(f"left alone by {report.name}: {refusal}", markup=False, highlight=False, soft_wrap=True)
    if result.lint_after.findings:
        console.print(findings_text(result.lint_after), markup=False, highlight=False, soft_wrap=True)


def _shapes(given: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the shapes by input.

    Raises:
        ExportError: one is not written as NAME=AxBxC.
    """
    from bevformer_lib.errors import ExportError

    shapes: dict[str, tuple[int, ...]] = {}
    for text in given:
        name, separator, sizes = text.rpartition("=")
        if not separator or not name or not re.fullmatch(r"[1-9][0-9]{0,8}(x[1-9][0-9]{0,8})*", sizes):
            raise ExportError(f"--input-shape {text}: give a name and sizes, as in img=1x6x3x480x800")
        shapes[name] = tuple(map(int, sizes.split("x")))
    return shapes


def result_table(result: RepairResult) -> Table:
    """Return what was done and what was measured, for people."""
    from rich.table import Table

    from bevformer_lib.export.repair import TOLERANCE

    table = Table(title=str(result.output), show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("nodes", f"{result.nodes_after} (before: {result.nodes_before})")
    for report in result.passes:
        if report.changed or report.refusals:
            table.add_row(f"pass {report.name}", f"{report.changed} changes, {len(report.refusals)} refused")
    for name, difference in result.differences.items():
        table.add_row(f"parity {name}", f"relative difference {difference:.1e} (at most {TOLERANCE:.0e})")
    if result.compared_from:
        table.add_row(
            "not compared",
            f"what {result.compared_from} and the passes before it did: ONNX Runtime can't run the graph",
        )
    table.add_row(
        f"check for {result.lint_after.chip}", f"{_counts(result.lint_after)} (before: {_counts(result.lint_before)})"
    )
    return table


def _counts(report: LintReport) -> str:
    return f"{len(report.errors)} errors, {len(report.warnings)} warnings"


def _as_json(model: Path, result: RepairResult) -> dict[str, object]:
    return {
        "model": str(model),
        "output": str(result.output),
        "nodes": {"before": result.nodes_before, "after": result.nodes_after},
        "passes": [
            {"name": report.name, "changed": report.changed, "refused": [str(refusal) for refusal in report.refusals]}
            for report in result.passes
        ],
        "relative_differences": dict(result.differences),
        "compared_from": result.compared_from,
        "findings": {
            when: {"errors": len(report.errors), "warnings": len(report.warnings)}
            for when, report in (("before", result.lint_before), ("after", result.lint_after))
        },
        "remaining": [str(finding) for finding in result.lint_after.findings],
    }
