"""The two sides of :mod:`benchmarks.orchestration`: a parent that asks for child runs, and processes that take them."""

from __future__ import annotations

import time
from typing import Any

from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.flow_engine import run_flow
from prefect.states import Pending

POOL = "gpu"
PARTS = 2
"""Tasks of a child run: scenes of a share."""
_IDLE_SECONDS = 0.5


@task(persist_result=False)
def part(number: int) -> None:
    """Stand for a scene."""


@flow(name="shard", persist_result=False)
def shard(work: list[dict[str, Any]]) -> None:
    """Stand for a share of the scenes."""
    for number in range(len(work)):
        part(number)


@flow(name="night", persist_result=False)
def night(count: int) -> None:
    """Ask for child runs as :mod:`tasks.children` does, and wait for all of them."""
    from tasks.children import states_of

    asked = [
        run_deployment("shard/shard", parameters={"work": [{"scene": number}] * PARTS}, timeout=0).id  # type: ignore[union-attr]
        for number in range(count)
    ]
    with get_client(sync_client=True) as client:
        while True:
            states = states_of(client, asked)
            assert len(states) == count, "runs were lost"
            if all(state.is_final() for state in states.values()):
                break
            time.sleep(2.0)
    assert all(state.is_completed() for state in states.values()), "runs failed"


def ask(count: int) -> None:
    """Register the deployment and run the parent."""
    shard.from_source(source=".", entrypoint="benchmarks/orchestration_runs.py:shard").deploy(
        name="shard", work_pool_name=POOL, print_next_steps=False, build=False, push=False
    )
    night(count)


def take() -> None:
    """Take run after run from the pool, for ever."""
    with get_client(sync_client=True) as client:
        while True:
            waiting = client.get_scheduled_flow_runs_for_work_pool(POOL)
            for one in waiting[:5]:
                run = one.flow_run
                taken = client.set_flow_run_state(run.id, Pending())
                if taken.status.value == "ACCEPT":
                    run_flow(shard, flow_run=client.read_flow_run(run.id), parameters=run.parameters)
            if not waiting:
                time.sleep(_IDLE_SECONDS)
