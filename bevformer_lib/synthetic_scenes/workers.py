"""Scenes in several processes at once; each holds one scene at a time, and all end when this process does."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from typing import TypeAlias

import cv2

from bevformer_lib.errors import SceneError

BetweenFrames: TypeAlias = Callable[[], None]
"""Called after every frame; raises where the scene shall not be gone on with."""


class _StoppedError(Exception):
    """The process that asked for the scenes wants no more of them."""


def scenes_in_processes(
    render: Callable[[int, BetweenFrames], None], numbers: Sequence[int], *, workers: int, name_of: Callable[[int], str]
) -> Generator[int, None, None]:
    """Yield the numbers of scenes as they are done.

    When one fails, or on Ctrl-C, the others stop after the frame they are at and leave nothing half done.

    Args:
        render: renders the scene of a number; must be picklable, since the processes are spawned.
        numbers: the scenes.
        workers: processes.
        name_of: name of a scene in an error.

    Raises:
        SceneError: a scene could not be rendered, or a process was killed.
        OSError: as it came up in the process.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    executor = ProcessPoolExecutor(
        min(workers, len(numbers)), mp_context=context, initializer=_start, initargs=(stop, os.getpid())
    )
    # A terminal sends Ctrl-C to the workers too; they inherit that it is held back and are stopped by the event.
    held_back = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        futures = {executor.submit(_render, render, number): number for number in numbers}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held_back)
    try:
        for future in as_completed(futures):
            _check(future, name_of(futures[future]))
            yield futures[future]
    finally:
        stop.set()
        executor.shutdown(cancel_futures=True)


def _check(future: Future[None], name: str) -> None:
    try:
        future.result()
    except BrokenProcessPool as error:
        raise SceneError(
            f"{name}: a process that renders scenes ended by itself or was killed, perhaps for lack of memory; use "
            "fewer --workers (a script of your own must call this under `if __name__ == '__main__':`)"
        ) from error
    except (OSError, SceneError):
        raise
    except Exception as error:
        raise SceneError(f"{name}: could not be rendered: {type(error).__name__}: {error}") from error


_stop: Event | None = None
_parent = 0


def _start(stop: Event, parent: int) -> None:
    global _stop, _parent
    _stop, _parent = stop, parent
    cv2.setNumThreads(1)


def _render(render: Callable[[int, BetweenFrames], None], number: int) -> None:
    render(number, _between_frames)


def _between_frames() -> None:
    if _stop is not None and (_stop.is_set() or os.getppid() != _parent):
        raise _StoppedError
