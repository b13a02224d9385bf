"""Progress on stderr: bars on a terminal, one plain line per begun and finished label elsewhere (logs, CI, pipes)."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bevformer_lib.progress import ProgressCallback


@contextmanager
def progress_bar() -> Iterator[ProgressCallback]:
    """Give a callback that shows progress until the block ends; it may be called from several threads.

    stdout stays free for results.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        yield _bars(progress)


def _bars(progress: Progress) -> ProgressCallback:
    """Return a callback that keeps one bar per label."""
    tasks: dict[str, TaskID] = {}
    lock = threading.Lock()

    def show(what: str, done: int, total: int) -> None:
        with lock:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

    return show


def _plain_lines() -> ProgressCallback:
    """Return a callback that writes a line when a label's last unit is done, once; and one when it says it begins."""
    told: dict[str, int] = {}
    lock = threading.Lock()

    def show(what: str, done: int, total: int) -> None:
        with lock:
            if told.get(what) == done:
                return
            told[what] = done
            if done in (0, total):
                sys.stderr.write(f"{what}: {done}/{total}\n")
                sys.stderr.flush()

    return show
