"""Progress of the work in tasks: on the console of a local build, as Prefect artifacts where a worker runs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from bevformer_lib.progress import ProgressCallback

_UPDATE_SECONDS: Final = 2.0
"""An update is a request to the server."""

_console: ContextVar[ProgressCallback | None] = ContextVar("console", default=None)


class StoppedError(Exception):
    """The build is ending; the work was given up at a frame's end."""


class StopSignal:
    """Ends work that runs in threads, which can't be interrupted, at its next sign of progress."""

    def __init__(self) -> None:
        self._set = threading.Event()

    def set(self) -> None:
        """Have all watched work stop."""
        self._set.set()

    def watched(self, on_progress: ProgressCallback) -> ProgressCallback:
        """Return a callback that passes progress on until the signal is set, and then raises."""

        def report(what: str, done: int, total: int) -> None:
            if self._set.is_set():
                raise StoppedError
            on_progress(what, done, total)

        return report


@contextmanager
def console_progress(on_progress: ProgressCallback) -> Iterator[None]:
    """Show the progress of tasks that this process runs."""
    token = _console.set(on_progress)
    try:
        yield
    finally:
        _console.reset(token)


def task_progress() -> ProgressCallback:
    """Return where a task reports its progress: the console, if one is watching, else the task run's artifacts."""
    return _console.get() or _progress_artifacts()


def _progress_artifacts() -> ProgressCallback:
    """Return a callback that keeps one progress artifact per label."""
    artifacts: dict[str, tuple[UUID, float]] = {}

    def report(what: str, done: int, total: int) -> None:
        percent = 100.0 * done / total
        now = time.monotonic()
        if what not in artifacts:
            artifacts[what] = (create_progress_artifact(percent, description=what), now)
            return
        artifact, told_at = artifacts[what]
        if done == total or now - told_at > _UPDATE_SECONDS:
            update_progress_artifact(artifact, percent, description=f"{what}: {done} of {total}")
            artifacts[what] = (artifact, now)

    return report
