"""A clock that tests turn, and a Prefect server that lives by it: pools, workers and runs, and it can be away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
from prefect.client.schemas.objects import FlowRun, State, WorkerStatus
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Scheduled

_REQUEST = httpx.Request("GET", "http://server/api")


def refusal(status: int) -> PrefectHTTPStatusError:
    """Return what Prefect's clients raise for an answer."""
    return PrefectHTTPStatusError(str(status), request=_REQUEST, response=httpx.Response(status, request=_REQUEST))


class Clock:
    """Stands for the module ``time``; a sleep takes no time, and what is due happens in it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._due: list[tuple[float, Callable[[], object]]] = []

    def monotonic(self) -> float:
        """Return the time, s."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Turn the clock forward."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            at, action = self._due.pop(0)
            self.now = max(self.now, at)
            action()
        self.now = max(self.now, end)

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Have something happen at a time after the start, s."""
        self._due = sorted([*self._due, (1000.0 + seconds, action)], key=lambda due: due[0])


@dataclass
class FakeServer:
    """Answers as Prefect's synchronous client does.

    Attributes:
        clock: what it lives by.
        pool: name of its one pool; ``None``: it has none.
        workers: names of the workers that are online.
        deployments: name -> pool.
        is_away: no connection is taken.
        before_answer: called before every answer.
    """

    clock: Clock
    pool: str | None = "cpu"
    workers: set[str] = field(default_factory=lambda: {"server"})
    deployments: dict[str, str | None] = field(default_factory=dict)
    paused: bool = False
    is_away: bool = False
    before_answer: Callable[[], None] = lambda: None
    runs: dict[UUID, FlowRun] = field(default_factory=dict)
    places: dict[UUID, tuple[str | None, UUID | None]] = field(default_factory=dict)
    asked: list[FlowRun] = field(default_factory=list)

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add(self, state: State[Any], *, parent: UUID | None = None, name: str = "run", pool: str = "cpu") -> FlowRun:
        """Add a run."""
        run = FlowRun(id=uuid4(), flow_id=uuid4(), name=name, state=state, state_type=state.type)
        self.runs[run.id], self.places[run.id] = run, (pool, parent)
        return run

    def become(self, run: FlowRun, state: State[Any], *, worker: str | None = None) -> None:
        """Have a run change its state."""
        labels = run.labels if worker is None else {"prefect.worker.name": worker}
        self.runs[run.id] = run.model_copy(update={"state": state, "state_type": state.type, "labels": labels})

    def run_deployment(self, name: str, *, idempotency_key: str, flow_run_name: str, **arguments: Any) -> FlowRun:
        """Ask for a run; the same key gives the same run."""
        self._answer()
        found = next((run for run in self.runs.values() if run.idempotency_key == idempotency_key), None)
        if found is not None:
            return found
        run = self.add(Scheduled(), name=flow_run_name).model_copy(
            update={"idempotency_key": idempotency_key, "parameters": arguments["parameters"]}
        )
        self.runs[run.id] = run
        self.asked.append(run)
        return run

    def read_flow_runs(self, *, flow_run_filter: Any, work_pool_filter: Any = None, limit: int) -> list[FlowRun]:
        """Return the runs that a filter lets through, as far as it is one that tasks/ use."""
        self._answer()
        wanted, found = flow_run_filter, []
        for run in self.runs.values():
            pool, parent = self.places[run.id]
            ids = wanted.id
            passes = [
                ids is None or ids.any_ is None or run.id in ids.any_,
                ids is None or ids.not_any_ is None or run.id not in ids.not_any_,
                wanted.state is None or run.state_type in wanted.state.type.any_,
                wanted.parent_flow_run_id is None or parent in wanted.parent_flow_run_id.any_,
                work_pool_filter is None or pool in work_pool_filter.name.any_,
            ]
            found += [run] if all(passes) else []
        return found[:limit]

    def read_flow_run(self, run: UUID) -> FlowRun:
        """Return a run."""
        self._answer()
        return self.runs[run]

    def set_flow_run_state(self, run: UUID, state: State[Any], force: bool = False) -> None:
        """Change a run's state."""
        self._answer()
        self.become(self.runs[run], state)

    def read_workers_for_work_pool(self, name: str) -> list[Any]:
        """Return the workers; those that went away are listed as offline."""
        self._answer()
        online = [SimpleNamespace(name=worker, status=WorkerStatus.ONLINE) for worker in self.workers]
        return [*online, SimpleNamespace(name="old", status=WorkerStatus.OFFLINE)]

    def read_work_pool(self, name: str) -> Any:
        """Return the pool."""
        self._answer()
        if name != self.pool:
            raise ObjectNotFound(refusal(404))
        return SimpleNamespace(is_paused=self.paused, concurrency_limit=None)

    def read_deployment_by_name(self, name: str) -> Any:
        """Return a deployment."""
        self._answer()
        if name not in self.deployments:
            raise ObjectNotFound(refusal(404))
        return SimpleNamespace(work_pool_name=self.deployments[name])

    def _answer(self) -> None:
        self.before_answer()
        if self.is_away:
            raise httpx.ConnectError("refused", request=_REQUEST)
