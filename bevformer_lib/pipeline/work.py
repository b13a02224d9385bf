"""A unit of work of a build, and who does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from bevformer_lib.progress import ProgressCallback
from bevformer_lib.store.base import Store
from bevformer_lib.store.run import StepResult
from bevformer_lib.store.step import Step


class Work(Protocol):
    """Plain data that says what a step is made from and how it is done; small, so that it may travel to a worker."""

    @property
    def step(self) -> Step:
        """The step: its key decides whether the work has to be done."""

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Do the work.

        Args:
            store: holds the inputs that earlier steps made.
            folder: empty; gets the outputs.
            on_progress: told of the progress.

        Returns:
            Facts about the outputs; plain JSON data.
        """


class Executor(Protocol):
    """Does work, unless it was done: in this process, as Prefect tasks, on a pool."""

    def do(self, work: Work) -> StepResult:
        """Do one unit and wait for it."""

    def do_all(self, work: Sequence[Work]) -> list[StepResult]:
        """Do units that don't need each other and wait for all; results in the same order."""
