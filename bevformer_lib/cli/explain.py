"""`bevformer explain`: what made each step of a run run."""

from __future__ import annotations


def command(run: str = "latest", /, *, store: str) -> None:
    """Print what a build did, step by step: what ran and what made it run, what did not and why.

    Args:
        run: a run's key, the id or the name of a Prefect run, or a build's id, which means its newest run; first
            letters do. Left out: the newest run.
        store: the folder or s3:// address that the build wrote to.
    """
    from rich.console import Console
    from rich.table import Table

    from bevformer_lib.pipeline.runs import find_run
    from bevformer_lib.store.open import open_store

    found = find_run(open_store(store, must_exist=True), run)
    table = Table("step", "ran", "why")
    table.add_column("seconds", justify="right")
    for step in found.steps:
        table.add_row(step.title, "yes" if step.ran else "no", step.reason, f"{step.seconds:.1f}")
    console = Console(markup=False, highlight=False)
    console.print(f"run {found.key}, {found.started_at} to {found.ended_at}: {found.outcome}", soft_wrap=True)
    if found.names:
        console.print(f"in Prefect: {', '.join(found.names)}", soft_wrap=True)
    if found.build is not None:
        console.print(f"build {found.build}")
    console.print(table)
    ran = sum(step.ran for step in found.steps)
    console.print(f"{ran} of {len(found.steps)} steps done")
