"""Frames through three stages at once: prepared ahead, run in this thread, finished behind."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Final, TypeVar

_Item = TypeVar("_Item")
_Prepared = TypeVar("_Prepared")
_Ran = TypeVar("_Ran")
_Finished = TypeVar("_Finished")
_Kept = TypeVar("_Kept")

WORKERS: Final = min(4, os.cpu_count() or 1)
"""Threads that prepare, and as many that finish; each has a frame at a time."""
FRAMES_AHEAD: Final = WORKERS
"""Frames prepared or being prepared while one is run."""
FRAMES_BEHIND: Final = WORKERS + 1
"""Frames that may wait to be finished and kept; beyond that the next is not run, so that memory stays bounded."""


def overlapped(
    items: Iterable[_Item],
    *,
    prepare: Callable[[_Item], _Prepared],
    run: Callable[[_Prepared], _Ran],
    finish: Callable[[_Ran], _Finished],
    keep: Callable[[_Finished], _Kept],
) -> Generator[_Kept, None, None]:
    """Take items through the stages and yield what is kept, in the items' order.

    An error of any stage is raised here when its item is due, and no item after it is kept. However the iterator ends,
    its threads have ended by then: those that wait do not begin, those at work end their item. Wrap it in
    :func:`contextlib.closing` where the loop over it may be left.

    Args:
        items: in order.
        prepare: called in threads, several items at once.
        run: called in this thread, one item after another.
        finish: called in threads, several items at once.
        keep: called in one thread, in the items' order.
    """
    source = iter(items)
    ahead: deque[Future[_Prepared]] = deque()
    behind: deque[Future[_Kept]] = deque()

    failed = False

    def keep_when_finished(finished: Future[_Finished]) -> _Kept:
        nonlocal failed
        if failed:  # this thread is ahead of the one that raises: what comes after a lost item must not be kept
            raise CancelledError
        try:
            return keep(finished.result())
        except BaseException:
            failed = True
            raise

    with (
        _threads(WORKERS, "prepare-ahead") as preparing,
        _threads(WORKERS, "finish-behind") as finishing,
        _threads(1, "keep-in-order") as keeping,
    ):

        def prepare_more() -> None:
            for item in islice(source, FRAMES_AHEAD - len(ahead)):
                ahead.append(preparing.submit(prepare, item))

        prepare_more()
        while ahead:
            prepared = ahead.popleft().result()
            prepare_more()
            ran = run(prepared)
            del prepared
            behind.append(keeping.submit(keep_when_finished, finishing.submit(finish, ran)))
            del ran
            while behind and (len(behind) > FRAMES_BEHIND or behind[0].done()):
                yield behind.popleft().result()
        while behind:
            yield behind.popleft().result()


@contextmanager
def _threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Give threads; at the end, what has not begun is dropped."""
    pool = ThreadPoolExecutor(count, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
