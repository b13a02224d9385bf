from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from bevformer_lib.pulsar2.errors import (
    BuildCancelledError,
    BuildMemoryError,
    BuildTimeoutError,
    ToolMissingError,
)
from bevformer_lib.pulsar2.process import Invocation, Limits, run_child
from tests.standins.install import REPOSITORY

# A child that starts a child of its own; both write their process ids.
FAMILY = "sleep 60 & echo $! $$ > {pids}; wait"


def _shell(script: str) -> Invocation:
    return Invocation(("/bin/sh", "-c", script))


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition: object, seconds: float = 10.0) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def _family(pids: Path) -> list[int]:
    assert wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    return [int(pid) for pid in pids.read_text().split()]


def test_lines_are_streamed_as_they_come() -> None:
    arrived: list[tuple[str, float]] = []
    completed = run_child(
        _shell("printf 'one\\r1/2\\rzwei ä\\n\\033[31mred\\033[0m\\n'; sleep 0.5; echo err >&2; printf last; exit 3"),
        limits=Limits(),
        on_line=lambda line: arrived.append((line, time.monotonic())),
    )
    assert completed.returncode == 3
    assert completed.lines == ("one", "1/2", "zwei ä", "red", "err", "last")
    assert tuple(line for line, _ in arrived) == completed.lines
    assert arrived[4][1] - arrived[3][1] > 0.3


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(ToolMissingError, match="/no/such: can't be started"):
        run_child(Invocation(("/no/such",)), limits=Limits())


def test_a_time_limit_stops_the_whole_family(tmp_path: Path) -> None:
    with pytest.raises(BuildTimeoutError, match=r"sh: was stopped after its time limit of 0\.5 s"):
        run_child(_shell(FAMILY.format(pids=tmp_path / "pids")), limits=Limits(seconds=0.5))
    assert all(_gone(pid) for pid in _family(tmp_path / "pids"))


def test_a_chatty_child_is_stopped_too() -> None:
    with pytest.raises(BuildTimeoutError):
        run_child(_shell("while :; do echo line; done"), limits=Limits(seconds=0.5))


def test_cancelling_stops_the_whole_family(tmp_path: Path) -> None:
    cancelled, pids = threading.Event(), tmp_path / "pids"
    threading.Thread(target=lambda: (_family(pids), cancelled.set())).start()
    with pytest.raises(BuildCancelledError, match="was cancelled"):
        run_child(_shell(FAMILY.format(pids=pids)), limits=Limits(cancelled=cancelled))
    assert all(_gone(pid) for pid in _family(pids))


def test_a_memory_limit() -> None:
    hungry = "held = b'x' * 300_000_000; import time; time.sleep(60)"
    with pytest.raises(BuildMemoryError, match=r"killed for memory: it used 0\.\d GB of the allowed 0\.1 GB"):
        run_child(Invocation((sys.executable, "-c", hungry)), limits=Limits(memory_bytes=100_000_000))


def test_what_a_finished_child_left_running_is_ended(tmp_path: Path) -> None:
    completed = run_child(_shell(f"sleep 60 & echo $! $$ > {tmp_path / 'pids'}; echo done"), limits=Limits())
    assert completed.lines == ("done",)
    assert completed.seconds < 10
    assert wait_until(lambda: all(_gone(pid) for pid in _family(tmp_path / "pids")))


def test_an_error_of_the_callback_stops_the_child(tmp_path: Path) -> None:
    def fail(line: str) -> None:
        raise ValueError(line)

    with pytest.raises(ValueError, match="hello"):
        run_child(_shell("echo hello; " + FAMILY.format(pids=tmp_path / "pids")), limits=Limits(), on_line=fail)
    if (tmp_path / "pids").exists():
        assert all(_gone(pid) for pid in _family(tmp_path / "pids"))


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 7), (signal.SIGTERM, 7), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_nothing_outlives_a_parent_that_is_ended(number: signal.Signals, status: int, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"""
        import sys
        from bevformer_lib.pulsar2.process import Invocation, Limits, run_child
        try:
            run_child(Invocation(("/bin/sh", "-c", {FAMILY.format(pids=pids)!r})), limits=Limits())
        except KeyboardInterrupt:
            sys.exit(7)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=REPOSITORY)
    family = _family(pids)
    assert not any(_gone(pid) for pid in family)
    time.sleep(0.3)
    os.kill(parent.pid, number)
    assert parent.wait(20) == status
    assert wait_until(lambda: all(_gone(pid) for pid in family))
