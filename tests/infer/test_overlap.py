from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from bevformer_lib.infer.overlap import FRAMES_AHEAD, FRAMES_BEHIND, WORKERS, overlapped

NAMES = ("prepare-ahead", "finish-behind", "keep-in-order")
PATIENCE_S = 20.0


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(NAMES)]


def stages(**changed: Callable[[Any], Any]) -> dict[str, Callable[[Any], Any]]:
    """Stages that change nothing, but for those given."""
    return {name: changed.get(name, lambda item: item) for name in ("prepare", "run", "finish", "keep")}


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    return condition()


def test_order_is_kept_however_long_each_takes() -> None:
    def dawdle(item: int) -> int:
        time.sleep(random.Random(item).random() * 0.01)
        return item

    kept: list[int] = []

    def keep(item: int) -> int:
        kept.append(item)
        return -item

    found = list(overlapped(range(40), **stages(prepare=dawdle, finish=dawdle, keep=keep)))
    assert kept == list(range(40))
    assert found == [-item for item in range(40)]
    assert threads() == []


def test_no_items_no_work() -> None:
    assert list(overlapped((), **stages())) == []


def test_the_others_work_while_one_is_run() -> None:
    """While item 3 is run, 4 is prepared, and 2 is finished and kept: none of them would be if they came in turn."""
    prepared: set[int] = set()
    kept: set[int] = set()

    def run(item: int) -> int:
        if item == 3:
            assert eventually(lambda: 4 in prepared and 2 in kept)
        return item

    work = stages(prepare=lambda item: prepared.add(item) or item, run=run, keep=lambda item: kept.add(item) or item)
    assert list(overlapped(range(6), **work)) == list(range(6))


def test_what_waits_is_bounded_ahead() -> None:
    prepared: list[int] = []
    stream = overlapped(range(100), **stages(prepare=lambda item: prepared.append(item) or item))
    with closing(stream):
        assert next(stream) == 0
        assert eventually(lambda: len(prepared) > 1)
        time.sleep(0.1)
        # What has been kept already, what is ahead, and one that was taken.
        assert len(prepared) <= FRAMES_AHEAD + FRAMES_BEHIND + 2


def test_what_waits_is_bounded_behind() -> None:
    ran: list[int] = []
    release = threading.Event()

    def finish(item: int) -> int:
        release.wait(PATIENCE_S)
        return item

    found: list[int] = []
    work = stages(run=lambda item: ran.append(item) or item, finish=finish)
    reader = threading.Thread(target=lambda: found.extend(overlapped(range(50), **work)))
    reader.start()
    assert eventually(lambda: len(ran) == FRAMES_BEHIND + 1)
    time.sleep(0.1)
    assert len(ran) == FRAMES_BEHIND + 1
    release.set()
    reader.join(PATIENCE_S)
    assert found == list(range(50))


@pytest.mark.parametrize(
    ("stage", "error"),
    [*((stage, ValueError) for stage in ("prepare", "run", "finish", "keep")), ("run", KeyboardInterrupt)],
)
def test_an_error_ends_it_when_its_item_is_due(stage: str, error: type[BaseException]) -> None:
    begun: list[int] = []
    kept: list[int] = []

    def fail(item: int) -> int:
        begun.append(item)
        if item == 5:
            raise error("the fifth")
        return item

    with pytest.raises(error, match="the fifth"):
        kept.extend(overlapped(range(1000), **stages(**{stage: fail})))
    assert threads() == []
    assert len(begun) <= 5 + FRAMES_AHEAD + FRAMES_BEHIND + 2 * WORKERS


def test_leaving_the_loop_ends_its_threads() -> None:
    with pytest.raises(RuntimeError), closing(overlapped(range(1000), **stages())) as stream:
        for item in stream:
            if item == 3:
                raise RuntimeError
    assert threads() == []


@pytest.mark.parametrize("stage", ["finish", "keep"])
def test_nothing_is_kept_after_an_item_that_was_lost(stage: str) -> None:
    """However late the thread that raises looks: it is still busy with a later item here."""
    kept: list[int] = []
    failed = threading.Event()

    def fail(item: int) -> int:
        if item == 2:
            failed.set()
            raise ValueError("the second")
        return item

    def run(item: int) -> int:
        if item == 5:
            assert failed.wait(PATIENCE_S)
            time.sleep(0.05)
        return item

    def keep(item: int) -> int:
        kept.append(fail(item) if stage == "keep" else item)
        return item

    work = stages(run=run, keep=keep, **({"finish": fail} if stage == "finish" else {}))
    with pytest.raises(ValueError, match="the second"):
        list(overlapped(range(50), **work))
    assert kept == [0, 1]
