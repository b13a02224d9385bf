"""Doing a build's work as Prefect tasks."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from prefect.futures import PrefectFuture

from bevformer_lib.errors import StoreUnreachableError
from bevformer_lib.pipeline.work import Work
from bevformer_lib.store.base import Store
from bevformer_lib.store.run import StepResult, find_step
from tasks.progress import StopSignal
from tasks.step import step_task

_log = logging.getLogger(__name__)


class TaskExecutor:
    """An :class:`~bevformer_lib.pipeline.executors.Executor` inside a running flow.

    Only work that has to be done becomes a task: what is in the store already costs no task run and says why it is
    reused.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stop = StopSignal()

    def do(self, work: Work) -> StepResult:
        """See :meth:`Executor.do`; runs in the calling thread."""
        return self._reused(work) or step_task(self._store, work, self._stop)(_identity(work))

    def do_all(self, work: Sequence[Work]) -> list[StepResult]:
        """See :meth:`Executor.do_all`; runs as many at once as the flow's task runner has threads.

        When one fails the others are finished all the same, so that a corrected run need not do them; then the first
        failure is raised.
        """
        reused = [self._reused(one) for one in work]
        submitted = [
            None if found else step_task(self._store, one, self._stop).submit(_identity(one))
            for one, found in zip(work, reused, strict=True)
        ]
        try:
            done = [None if future is None else _settled(future) for future in submitted]
        except BaseException:
            self._stop.set()
            raise
        failures = [outcome for outcome in done if isinstance(outcome, BaseException)]
        if failures:
            raise failures[0]
        return [
            result
            for result in (found or outcome for found, outcome in zip(reused, done, strict=True))
            if isinstance(result, StepResult)
        ]

    def _reused(self, work: Work) -> StepResult | None:
        try:
            found = find_step(self._store, work.step)
        except StoreUnreachableError:
            return None  # the task asks again, and is tried again
        if found is not None:
            _log.info("%s skipped: %s", work.step.title, found.reason)
        return found


def _identity(work: Work) -> str:
    step = work.step
    return f"{step.kind}/{step.key}"


def _settled(future: PrefectFuture[StepResult]) -> StepResult | BaseException:
    """Wait for a task; return what it returned or raised."""
    future.wait()
    outcome: StepResult | BaseException = future.state.result(raise_on_failure=False)
    return outcome
