"""Progress of the work in tasks: on the console of a local build, as Prefect artifacts where a worker runs it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, cast
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

from bevformer_lib.progress import ProgressCallback

_UPDATE_SECONDS: Final = 2.0
"""An update is a request to the server."""
_SILENT_SECONDS: Final = 60.0
"""A server that is away may keep a request waiting, and the work with it."""

_log = logging.getLogger(__name__)

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
    """Return a callback that keeps one progress artifact per label.

    What can't be told is no reason for work to fail: after a failure nothing is told for a while.
    """
    artifacts: dict[str, tuple[UUID, float]] = {}
    silent_until = 0.0

    def tell(what: str, done: int, total: int) -> None:
        percent = 100.0 * done / total
        now = time.monotonic()
        if what not in artifacts:
            artifacts[what] = (cast(UUID, create_progress_artifact(percent, description=what)), now)
            return
        artifact, told_at = artifacts[what]
        if done == total or now - told_at > _UPDATE_SECONDS:
            update_progress_artifact(artifact, percent, description=f"{what}: {done} of {total}")
            artifacts[what] = (artifact, now)

    def report(what: str, done: int, total: int) -> None:
        nonlocal silent_until
        if time.monotonic() < silent_until:
            return
        try:
            tell(what, done, total)
        except (httpx.HTTPError, PrefectException) as error:
            _log.warning("%s: the server can't be told of the progress: %s", what, type(error).__name__)
            silent_until = time.monotonic() + _SILENT_SECONDS

    return report
