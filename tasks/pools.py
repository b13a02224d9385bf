"""Doing a build's work on work pools: heavy steps as child runs, the rest in the run that asks for them."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from bevformer_lib.pipeline.executors import Executor
from bevformer_lib.pipeline.work import Work
from bevformer_lib.store.base import Store
from bevformer_lib.store.explain import why_run
from bevformer_lib.store.run import StepResult, find_step, last_done
from tasks.batches import batches
from tasks.children import Children
from tasks.executor import TaskExecutor
from tasks.pool_state import Deployed, PoolError
from tasks.server import patiently
from tasks.settings import RunSettings

DEPLOYMENT: Final = "batch/{pool}"
"""Of the flow that does a batch of work, by the name of the work pool."""
_KINDS_ASKED: Final = 5

_log = logging.getLogger(__name__)


def executor(store: Store, settings: RunSettings) -> Executor:
    """Return who does the work: pools for a run of a deployment, else this process.

    A build that somebody runs on this machine, with a server or without, is meant to run on this machine.
    """
    context = FlowRunContext.get()
    run = None if context is None else context.flow_run
    if run is None or run.deployment_id is None:
        return TaskExecutor(store)
    return PoolExecutor(store, settings, run.id)


class PoolExecutor:
    """An :class:`~bevformer_lib.pipeline.executors.Executor` whose heavy work is done by child runs on work pools.

    Only work that has to be done is delegated: what is in the store already costs no run.
    """

    def __init__(self, store: Store, settings: RunSettings, run: UUID) -> None:
        self._store = store
        self._settings = settings
        self._run = run
        self._here = TaskExecutor(store)

    def do(self, work: Work) -> StepResult:
        """See :meth:`Executor.do`."""
        return self.do_all([work])[0]

    def do_all(self, work: Sequence[Work]) -> list[StepResult]:
        """See :meth:`Executor.do_all`; the parts go in batches to the workers that are online.

        Raises:
            PoolError: a child failed, or no worker takes it.
        """
        pool = work[0].pool if work else None
        if pool is None:
            return self._here.do_all(work)
        found = [find_step(self._store, one.step) for one in work]
        missing = [one for one, result in zip(work, found, strict=True) if result is None]
        reasons = {one.step.kind: why_run(one.step, last_done(self._store, one.step.kind)) for one in missing}
        for one, result in zip(work, found, strict=True):
            _log.info(
                "%s%s", one.step.title, f": {reasons[one.step.kind]}" if result is None else " skipped: unchanged"
            )
        if missing:
            self._do_away(DEPLOYMENT.format(pool=pool), missing)
        return [result or self._done(one, reasons[one.step.kind]) for one, result in zip(work, found, strict=True)]

    def _do_away(self, deployment: str, work: Sequence[Work]) -> None:
        deployed, places = patiently(partial(_find, deployment), f"deployment {deployment}")
        children = Children(self._run, self._store.uri, deployed, self._settings, self._is_done)
        children.do(batches(work, places, _seconds_per_frame(self._store, work)))

    def _is_done(self, work: Work) -> bool:
        return find_step(self._store, work.step) is not None

    def _done(self, work: Work, reason: str) -> StepResult:
        result = find_step(self._store, work.step)
        if result is None:
            raise PoolError(
                f"{work.step.title}: its child run ended well, but {self._store.uri} does not hold what it made; the "
                "workers must see the store under this address"
            )
        return StepResult(result.record, ran=True, reason=reason)


def _find(deployment: str) -> tuple[Deployed, int]:
    """Return a deployment, and how many runs its pool takes at once."""
    with get_client(sync_client=True) as client:
        deployed = Deployed.find(client, deployment)
        return deployed, deployed.places(client)


def _seconds_per_frame(store: Store, work: Sequence[Work]) -> float | None:
    """Return what a frame took in earlier steps of these kinds, whatever they were made from; ``None``: never done."""
    figures = []
    for one in work[:_KINDS_ASKED]:
        for key in store.list_records(one.step.kind)[:1]:
            content = store.get_record(one.step.kind, key)
            if content is not None:
                frames = content["facts"].get("frames") or content["facts"].get("frames_run")
                figures += [content["seconds"] / frames] if frames else []
    return statistics.median(figures) if figures else None
