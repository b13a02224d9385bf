"""`bevformer diff`: what changed from one build to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.table import Table

    from bevformer_lib.pipeline.diff import Change

_LONGEST: Final = 60


def command(build_a: str, build_b: str, /, *, store: str) -> None:
    """Print what changed: inputs, parameters, packages, code, compiled models, and metrics, per class and per tensor.

    Args:
        build_a: a build's id, its first digits (six at least), or an alias such as latest.
        build_b: the other one.
        store: a folder or s3://bucket/prefix.
    """
    from rich.console import Console

    from bevformer_lib.pipeline.diff import compare_builds
    from bevformer_lib.pipeline.publish import named_build
    from bevformer_lib.store.open import open_store

    opened = open_store(store, must_exist=True)
    before, after = named_build(opened, build_a), named_build(opened, build_b)
    console = Console(markup=False, highlight=False)
    console.print(f"from {before.identity} ({before.name}, {before.created_at})", soft_wrap=True)
    console.print(f"to   {after.identity} ({after.name}, {after.created_at})", soft_wrap=True)
    found = compare_builds(opened, before, after)
    parts = {
        "Inputs": found.inputs,
        "Parameters": found.parameters,
        "Packages": found.packages,
        "Code": found.code,
        "Compiled models, by the numbers in them": found.candidates,
        "Measured": found.totals,
        "Per class": found.per_class,
        "Per tensor: mean cosine": found.per_tensor,
    }
    for title, changes in parts.items():
        if changes:
            console.print(change_table(title, changes))
    if not any(parts.values()):
        console.print("nothing changed")


def change_table(title: str, changes: Sequence[Change]) -> Table:
    """Return a row per change; numbers with their difference."""
    from rich.table import Table

    table = Table("name", title=title, title_justify="left")
    for column in ("before", "after"):
        table.add_column(column, overflow="fold")
    table.add_column("change", justify="right")
    for change in changes:
        table.add_row(change.name, _shown(change.before), _shown(change.after), _difference(change))
    return table


def _shown(value: Any) -> str:
    from bevformer_lib.report import numbers

    if value is None:
        return numbers.UNDEFINED
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _difference(change: Change) -> str:
    if isinstance(change.before, int | float) and isinstance(change.after, int | float):
        return f"{change.after - change.before:+.4g}"
    return ""
