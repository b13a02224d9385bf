"""Whether a work pool takes runs, and what to do where it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.exceptions import ObjectNotFound

from bevformer_lib.errors import BevformerError

WORKER_LABEL: Final = "prefect.worker.name"
"""Label of a run: the worker that took it."""
_ACTIVE: Final = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
"""States in which a run has a place in its pool."""
_PAGE: Final = 200
"""The most runs that the server returns at once."""


class PoolError(BevformerError):
    """A step can't be done where it has to be: deployment, pool or worker is missing, or a run there ended badly."""


@dataclass(frozen=True)
class Deployed:
    """A deployment and the pool that it runs on.

    Attributes:
        name: ``flow/deployment``.
        pool: name of its work pool.
    """

    name: str
    pool: str

    @classmethod
    def find(cls, client: SyncPrefectClient, name: str) -> Deployed:
        """Ask the server for a deployment.

        Raises:
            PoolError: it is missing, or not on a work pool.
        """
        advice = "register it: python deployments/register.py"
        try:
            pool = client.read_deployment_by_name(name).work_pool_name
        except ObjectNotFound:
            raise PoolError(f"deployment {name}: the server has none of this name; {advice}") from None
        if pool is None:
            raise PoolError(f"deployment {name}: has no work pool; {advice}")
        found = cls(name, pool)
        found.check_open(client)
        return found

    def check_open(self, client: SyncPrefectClient) -> None:
        """Make sure that the pool hands out runs.

        Raises:
            PoolError: it is missing or paused.
        """
        try:
            pool = client.read_work_pool(self.pool)
        except ObjectNotFound:
            raise PoolError(
                f"work pool {self.pool}: the server has none of this name; create it: prefect work-pool create "
                f"{self.pool} --type process --base-job-template infra/pools/process.json"
            ) from None
        if pool.is_paused:
            raise PoolError(f"work pool {self.pool}: is paused; resume it: prefect work-pool resume {self.pool}")

    def online(self, client: SyncPrefectClient) -> frozenset[str]:
        """Return the names of the workers that poll the pool."""
        workers = client.read_workers_for_work_pool(self.pool)
        return frozenset(worker.name for worker in workers if worker.status == WorkerStatus.ONLINE)

    def workers(self, client: SyncPrefectClient) -> int:
        """Return how many workers poll the pool."""
        return len(self.online(client))

    def places(self, client: SyncPrefectClient) -> int:
        """Return how many runs the pool takes at once: its limit, or one per worker where it has none.

        One worker of a Kubernetes pool starts as many jobs as it is allowed to.
        """
        limit = client.read_work_pool(self.pool).concurrency_limit
        return self.workers(client) if limit is None else limit

    def why_idle(self, client: SyncPrefectClient, own: object) -> str | None:
        """Return why a waiting run will not be taken, or ``None`` if the pool is only busy.

        Runs that only wait for others, as several builds on one full worker do, don't make a pool busy: they may wait
        for each other.

        Args:
            client: of the server.
            own: id of the run that waits, which keeps a place for itself where it runs on the same pool.

        Raises:
            PoolError: the pool is missing or paused.
        """
        self.check_open(client)
        start = f"start one: prefect worker start --pool {self.pool} --type process"
        if not self.workers(client):
            return f"work pool {self.pool}: no worker polls it; {start}"
        active = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(_ACTIVE))),
                id=FlowRunFilterId(not_any_=[own]),  # type: ignore[list-item]
            ),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[self.pool])),
            limit=_PAGE,
        )
        if not all(_only_waits(client, run) for run in active):
            return None
        return (
            f"work pool {self.pool}: its workers take no run: they are gone, or full with the build that waits for "
            f"them, or the pool's concurrency limit is used up; {start}"
        )


def _only_waits(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Return whether a run has asked for child runs and none of them was taken yet."""
    states = FlowRunFilterStateType(any_=[StateType.SCHEDULED, *_ACTIVE])
    children = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]), state=FlowRunFilterState(type=states)
        ),
        limit=_PAGE,
    )
    return bool(children) and all(child.state_type == StateType.SCHEDULED for child in children)
