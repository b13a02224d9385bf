"""A container whose whole family was killed at once is stopped by the next conversion, and no other is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from bevformer_lib.pulsar2.orphaned_containers import holding
from bevformer_lib.pulsar2.tool import find_tool
from tests.pulsar2.support import convert
from tests.pulsar2.test_process import wait_until
from tests.standins.install import REPOSITORY
from tests.support.calibration import ToyWorld


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder that all conversions of the test share, as the workers of a host do."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def children_of(parent: int) -> dict[int, str]:
    """Process id -> command line."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().decode().replace("\0", " ")
            except (OSError, IndexError):
                continue
    return found


@pytest.fixture
def hanging(
    docker: Path, scratch: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[subprocess.Popen[bytes], int]:
    """A conversion in a process of its own, whose container hangs, and the container's process id."""
    sign = tmp_path / "hanging"
    script = f"""
        from pathlib import Path
        from bevformer_lib.pulsar2.converter import Pulsar2Converter, Pulsar2Options
        def on_line(line):
            if "hangs" in line:
                Path({str(sign)!r}).touch()
        converter = Pulsar2Converter(Pulsar2Options(recipe="int8", on_line=on_line))
        converter.convert(Path({str(world.model)!r}), Path({str(calibration)!r}), Path({str(tmp_path / "first")!r}))
    """
    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", "hang")
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=REPOSITORY)
    monkeypatch.delenv("STANDIN_PULSAR2_FAIL")
    assert wait_until(sign.exists, 30)
    (record,) = docker.glob("*.json")
    return parent, int(json.loads(record.read_text())["pid"])


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_next_conversion_stops_what_a_killed_worker_left_behind(
    hanging: tuple[subprocess.Popen[bytes], int], scratch: Path, world: ToyWorld, calibration: Path, tmp_path: Path
) -> None:
    parent, container = hanging
    # As when the container that they are in is killed; the watchdog first, which has no time to do anything.
    children = sorted(children_of(parent.pid).items(), key=lambda child: "watchdog.py" not in child[1])
    assert "watchdog.py" in children[0][1] and len(children) == 2
    for pid in (children[0][0], parent.pid, children[1][0]):
        os.kill(pid, signal.SIGKILL)
    parent.wait()
    (lock,) = scratch.glob("*.lock")
    assert is_running(container)

    convert(world, calibration, tmp_path / "out" / "m.axmodel")
    assert not is_running(container)
    assert not lock.exists()


def test_a_container_that_somebody_would_stop_is_left_alone(hanging: tuple[subprocess.Popen[bytes], int]) -> None:
    parent, container = hanging
    find_tool().stop_orphaned()
    assert is_running(container)
    (watchdog,) = [pid for pid, command in children_of(parent.pid).items() if "watchdog.py" in command]
    os.kill(watchdog, signal.SIGSTOP)
    parent.kill()
    parent.wait()
    find_tool().stop_orphaned()
    assert is_running(container)
    os.kill(watchdog, signal.SIGCONT)
    assert wait_until(lambda: not is_running(container))


def test_what_can_not_be_stopped_now_is_kept_for_later(
    docker: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = scratch / "bevformer-pulsar2-0123456789ab.lock"
    lock.touch()
    monkeypatch.setenv("STANDIN_DOCKER_DOWN", "1")
    find_tool().stop_orphaned()
    assert lock.exists()
    monkeypatch.delenv("STANDIN_DOCKER_DOWN")
    find_tool().stop_orphaned()  # docker knows no such container
    assert not lock.exists()


def test_a_lock_is_gone_with_its_block(scratch: Path) -> None:
    lock = scratch / "bevformer-pulsar2-0123456789ab.lock"
    with holding(lock):
        assert list(scratch.iterdir()) == [lock]
    assert list(scratch.iterdir()) == []
