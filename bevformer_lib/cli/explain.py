"""`bevformer explain`: what made each step of a run run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from bevformer_lib.pipeline.runs import RunStep


def command(run: str = "latest", /, *, store: str) -> None:
    """Print what a build did, step by step: what ran and what made it run, what did not and why.

    Args:
        run: a run's key, the id or the name of a Prefect run, or a build's id, which means its newest run; first
            letters do. Left out: the newest run.
        store: the folder or s3:// address that the build wrote to.
    """
    from rich.console import Console

    from bevformer_lib.pipeline.runs import find_run
    from bevformer_lib.store.open import open_store

    found = find_run(open_store(store, must_exist=True), run)
    console = Console(markup=False, highlight=False)
    console.print(f"run {found.key}, {found.started_at} to {found.ended_at}: {found.outcome}", soft_wrap=True)
    if found.names:
        console.print(f"in Prefect: {', '.join(found.names)}", soft_wrap=True)
    if found.build is not None:
        console.print(f"build {found.build}")
    console.print(steps_table(found.steps))
    ran = sum(step.ran for step in found.steps)
    console.print(f"{ran} of {len(found.steps)} steps done")


def steps_table(steps: Iterable[RunStep]) -> Table:
    """Return a row per step: whether it ran, why (names of modules are never cut), and how long it took when it did."""
    from rich.table import Table

    table = Table("step", "ran")
    table.add_column("why", overflow="fold")
    table.add_column("seconds", justify="right")
    for step in steps:
        table.add_row(step.title, "yes" if step.ran else "no", step.reason, f"{step.seconds:.1f}")
    return table
