"""Child runs on work pools: started, watched, begun again when their machine died, ended with their parent."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling, Crashed

from bevformer_lib.errors import StoreUnreachableError
from bevformer_lib.pipeline.serialization import serialize
from bevformer_lib.pipeline.work import Work
from tasks.pool_state import WORKER_LABEL, Deployed, PoolError
from tasks.server import SERVER_SECONDS, is_away, patiently
from tasks.settings import RunSettings

_RESTARTS: Final = 2
"""A machine may die; work that kills every machine must not go round for ever."""
_FIRST_LOOK_SECONDS, _LOOK_SECONDS, _SLOWER = 0.5, 4.0, 1.3
_PAGE: Final = 200
"""The most runs that the server returns at once."""
_GAP_SECONDS: Final = 20.0
"""A longer time without an answer is one in which the server was away, whether the client said so or asked again."""
_BACK_SECONDS: Final = 180.0
"""After that no word of workers counts: a worker sends a heartbeat every 30 s, every 60 s after it failed to, and is
offline after 90 s without one. So a server that was away for long takes all of them for dead when it is back."""
_START_SECONDS: Final = 300.0
"""What a run may take to begin whose worker is gone: pulling a container takes minutes and needs no worker."""
_LONGEST_START_SECONDS: Final = 1800.0
"""What it may take where the worker answers. A worker that died meanwhile and came back under its name knows nothing of
the run, and Prefect ends no run that never began."""
_CANCEL_SECONDS: Final = 15.0
"""A build that is cancelled itself has 30 s to end."""
_ENDED: Final = "The run that asked for this one ended."

_log = logging.getLogger(__name__)


@dataclass
class _Child:
    """A run and what it does.

    Attributes:
        work: its parts.
        run: as it was when it was asked for.
        attempt: counted from 0.
        begun: it runs, or ran.
        starting_at: when a worker was first seen to start it, s of the monotonic clock; ``None``: it does not.
    """

    work: list[Work]
    run: FlowRun
    attempt: int
    begun: bool = False
    starting_at: float | None = None


class Children:
    """The child runs of one step; a context that leaves none of them running."""

    def __init__(
        self, parent: UUID, store: str, deployed: Deployed, settings: RunSettings, is_done: Callable[[Work], bool]
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            parent: id of the run that waits.
            store: address of the store, as seen from the workers.
            deployed: what to run.
            settings: handed on to the children.
            is_done: whether the store holds the results of a part.
        """
        self._parent = parent
        self._store = store
        self._deployed = deployed
        self._settings = settings
        self._is_done = is_done
        self._active: list[_Child] = []
        self._failures: list[str] = []
        self._moved_at = self._heard_at = time.monotonic()
        self._away_at = -math.inf

    def do(self, batches: Iterable[Sequence[Work]]) -> None:
        """Have every batch done by a child run, and wait for all.

        Raises:
            PoolError: no worker takes a run within the pick-up time, or a child failed; the other children are waited
                for first, so that what they do is kept.
        """
        try:
            with get_client(sync_client=True) as client:
                for batch in batches:
                    patiently(partial(self._start, list(batch), attempt=0), "a child run")
                self._heard_at = time.monotonic()
                self._wait(client)
        except BaseException:
            self._cancel()
            raise
        if self._failures:
            raise PoolError("; ".join(dict.fromkeys(self._failures)))

    def _start(self, work: list[Work], attempt: int) -> None:
        keys = hashlib.sha256(" ".join(one.step.key for one in work).encode()).hexdigest()[:16]
        parameters: dict[str, Any] = {
            "store": self._store,
            "work": [serialize(one) for one in work],
            "settings": self._settings.model_dump(mode="json"),
        }
        while True:
            run = _run_deployment(
                self._deployed.name,
                parameters=parameters,
                flow_run_name=_name(work),
                idempotency_key=f"{self._parent}-{keys}-{attempt}",
            )
            if run.state is None or not run.state.is_final():
                break
            attempt += 1  # of an earlier try of the same parent
        _log.info("%s: asked of pool %s as run %s", run.name, self._deployed.pool, run.id)
        self._active.append(_Child(work, run, attempt))
        self._moved_at = time.monotonic()

    def _wait(self, client: SyncPrefectClient) -> None:
        pause, done_at = _FIRST_LOOK_SECONDS, time.monotonic()
        while self._active:
            time.sleep(pause)
            pause = min(pause * _SLOWER, _LOOK_SECONDS)
            try:
                self._look(client)
                done_at = time.monotonic()
            except (httpx.HTTPError, StoreUnreachableError) as error:
                if isinstance(error, httpx.HTTPError):
                    if not is_away(error):
                        raise
                    self._away_at = time.monotonic()
                _log.warning("the child runs can't be looked after: %s", type(error).__name__)
                if time.monotonic() - done_at > SERVER_SECONDS:
                    raise

    def _look(self, client: SyncPrefectClient) -> None:
        states = states_of(client, [child.run.id for child in self._active])
        self._note_answer()
        for child in list(self._active):
            state = states.get(child.run.id)
            if state is None or state.is_final():
                self._settle(child, state)
                self._active.remove(child)  # not before: what can't be settled now is looked at again
                self._moved_at = time.monotonic()
            else:
                self._note_state(child, state)
        if time.monotonic() - self._away_at <= _BACK_SECONDS:
            return
        self._give_up_starts(client)
        if self._active and time.monotonic() - self._moved_at > self._settings.pick_up_seconds:
            self._check_workers(client)

    def _note_answer(self) -> None:
        now = time.monotonic()
        if now - self._heard_at > _GAP_SECONDS:
            self._away_at = now
        self._heard_at = now

    def _note_state(self, child: _Child, state: State[Any]) -> None:
        """Take note of how far a child is, and of when anything moved last."""
        if state.type == StateType.SCHEDULED:
            child.starting_at = None
        elif state.type == StateType.PENDING:
            if child.starting_at is None:
                child.starting_at = self._moved_at = time.monotonic()
        elif not child.begun:
            child.begun = True
            self._moved_at = time.monotonic()

    def _settle(self, child: _Child, state: State[Any] | None) -> None:
        """Take note of how a child ended; begin again what a dead machine left undone."""
        left = [one for one in child.work if not self._is_done(one)]
        if not left:
            return
        if state is not None and state.is_crashed() and child.attempt < _RESTARTS:
            _log.warning(
                "%s: its machine or process died (%s); %d parts left", child.run.name, state.message, len(left)
            )
            self._start(left, child.attempt + 1)
            return
        how = "was deleted" if state is None else f"{(state.name or 'ended').lower()}: {state.message or 'no message'}"
        self._failures.append(f"child run {child.run.name} on pool {self._deployed.pool} {how}")

    def _check_workers(self, client: SyncPrefectClient) -> None:
        """See whether anything can still happen: runs wait for workers, or workers are gone with their runs."""
        taken = [child for child in self._active if child.begun or child.starting_at is not None]
        if len(taken) < len(self._active):
            problem = self._deployed.why_idle(client, self._parent)
            if problem is not None and not taken:
                waited = f"nothing was taken for {self._settings.pick_up_seconds:.0f} s"
                raise PoolError(f"{problem} ({waited}; the setting pick_up_seconds)")
        if not self._deployed.workers(client):
            for child in taken:
                if child.begun:
                    with contextlib.suppress(ObjectNotFound):
                        _crash(client, child, f"no worker of pool {self._deployed.pool} is online any more")
        self._moved_at = time.monotonic()

    def _give_up_starts(self, client: SyncPrefectClient) -> None:
        """Let runs that never began count as crashed: they keep their places in the pool, and nobody else ends them."""
        now, allowed = time.monotonic(), max(self._settings.pick_up_seconds, _START_SECONDS)
        longest = max(allowed, _LONGEST_START_SECONDS)
        for child in self._active:
            seconds = 0.0 if child.begun or child.starting_at is None else now - child.starting_at
            with contextlib.suppress(ObjectNotFound):  # deleted meanwhile, which the next look sees
                if seconds > longest or (seconds > allowed and not self._has_worker(client, child)):
                    _crash(client, child, f"did not begin within {seconds:.0f} s; its worker has died")

    def _has_worker(self, client: SyncPrefectClient, child: _Child) -> bool:
        return client.read_flow_run(child.run.id).labels.get(WORKER_LABEL) in self._deployed.online(client)

    def _cancel(self) -> None:
        """End what is still running; a child that can't be told finds out by itself that its parent is gone."""
        if not self._active:
            return
        _log.warning("ending %d child runs", len(self._active))
        with contextlib.suppress(httpx.HTTPError), get_client(sync_client=True) as client:
            for run in self._running(client):
                client.set_flow_run_state(run, Cancelling(message=_ENDED))
            deadline = time.monotonic() + _CANCEL_SECONDS
            while (left := self._running(client)) and time.monotonic() < deadline:
                time.sleep(_FIRST_LOOK_SECONDS)
            # Prefect forgets a run that is cancelled while its process starts: it would keep its place in the pool for
            # ever. One whose process is there after all sees this, and ends.
            for run in left:
                client.set_flow_run_state(run, Cancelled(message=_ENDED), force=True)

    def _running(self, client: SyncPrefectClient) -> list[UUID]:
        states = states_of(client, [child.run.id for child in self._active])
        return [run for run, state in states.items() if not state.is_final()]


def _crash(client: SyncPrefectClient, child: _Child, message: str) -> None:
    """Have the server count a run as crashed; it is begun again when that is seen."""
    client.set_flow_run_state(child.run.id, Crashed(message=message), force=True)


def _run_deployment(name: str, **arguments: Any) -> FlowRun:
    """Start a run and return at once; the UI shows it under the run that this is called in."""
    run = run_deployment(name, timeout=0, as_subflow=True, **arguments)
    assert isinstance(run, FlowRun)  # noqa: S101 (a coroutine only where an event loop runs, which a flow's thread has not)
    return run


def states_of(client: SyncPrefectClient, runs: Sequence[UUID]) -> dict[UUID, State[Any]]:
    """Return the states of runs, of as many as there are; those that were deleted are left out."""
    found: dict[UUID, State[Any]] = {}
    for start in range(0, len(runs), _PAGE):
        page = list(runs[start : start + _PAGE])
        listed = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=page)), limit=_PAGE)
        found |= {run.id: run.state for run in listed if run.state is not None}
    return found


def _name(work: Sequence[Work]) -> str:
    first, last = work[0].step, work[-1].step
    return first.title if len(work) == 1 else f"{first.title} to {last.part} ({len(work)} scenes)"
