"""Who does work: what an executor is, and the two that need no orchestrator, one of which only looks what was done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bevformer_lib.pipeline.work import Work
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.store.base import Store
from bevformer_lib.store.run import StepResult, find_step, run_step


class Executor(Protocol):
    """Does work, unless it was done: in this process, as Prefect tasks, on a pool."""

    def do(self, work: Work) -> StepResult:
        """Do one unit and wait for it."""

    def do_all(self, work: Sequence[Work]) -> list[StepResult]:
        """Do units that don't need each other and wait for all; results in the same order."""


class DirectExecutor:
    """Does all work in the calling thread, one unit after the other."""

    def __init__(self, store: Store, on_progress: ProgressCallback = no_progress) -> None:
        self._store = store
        self._on_progress = on_progress

    def do(self, work: Work) -> StepResult:
        """See :meth:`Executor.do`."""
        return run_step(self._store, work.step, lambda folder: work.produce(self._store, folder, self._on_progress))

    def do_all(self, work: Sequence[Work]) -> list[StepResult]:
        """See :meth:`Executor.do_all`."""
        return [self.do(one) for one in work]


class NotDoneError(Exception):
    """A step has to be done first."""


class FindingExecutor:
    """Does nothing; finds what was done, and stops at the first step that was not."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def do(self, work: Work) -> StepResult:
        """Return the finished step.

        Raises:
            NotDoneError: it has to be done.
        """
        found = find_step(self._store, work.step)
        if found is None:
            raise NotDoneError(work.step.title)
        return found

    def do_all(self, work: Sequence[Work]) -> list[StepResult]:
        """Return the finished steps; see :meth:`do`."""
        return [self.do(one) for one in work]
