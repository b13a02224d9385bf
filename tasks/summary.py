"""What became of a build, for people who look at the run in Prefect."""

from __future__ import annotations

from collections.abc import Sequence

from prefect.artifacts import create_table_artifact

from bevformer_lib.store.run import StepResult


def publish_steps(steps: Sequence[StepResult]) -> None:
    """Leave a table of the steps in the flow run: what ran, what was reused, and why."""
    rows = [
        {
            "step": result.record.step.title,
            "ran": "yes" if result.ran else "no",
            "why": result.reason,
            "seconds": result.record.seconds,
        }
        for result in steps
    ]
    create_table_artifact(key="steps", table=rows, description="What this build did, and why.")
