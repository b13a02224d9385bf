"""However a conversion is ended, nothing of it is left running and nothing half-made is left behind."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from bevformer_lib.pulsar2.errors import BuildCancelledError, BuildMemoryError, BuildTimeoutError
from tests.pulsar2.support import expect_failure, running_standins
from tests.standins.install import REPOSITORY
from tests.support.calibration import ToyWorld


def test_too_slow(
    place: str, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", "hang")
    (tmp_path / "out").mkdir()
    message = "time limit of 4 s"
    expect_failure(
        world, calibration, tmp_path / "out" / "m", BuildTimeoutError, message, time_limit_minutes=4.0 / 60.0
    )


def test_too_big(
    native: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", "balloon")
    (tmp_path / "out").mkdir()
    message = "killed for memory: it used .* of the allowed 0.6 GB"
    expect_failure(world, calibration, tmp_path / "out" / "m", BuildMemoryError, message, memory_limit_gb=0.6)


@pytest.mark.parametrize("delay", ["0", "1.5"])
def test_cancelled(
    place: str, delay: str, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the container is still on its way."""
    cancelled = threading.Event()

    def on_line(line: str) -> None:
        if "hangs" in line:
            cancelled.set()

    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", "hang")
    monkeypatch.setenv("STANDIN_DOCKER_DELAY", delay)
    if delay != "0":
        threading.Timer(2.5, cancelled.set).start()
    (tmp_path / "out").mkdir()
    options = {"cancelled": cancelled, "on_line": on_line}
    expect_failure(world, calibration, tmp_path / "out" / "m", BuildCancelledError, "was cancelled", **options)


@pytest.mark.parametrize("number", [2, 15, 9])
def test_no_container_outlives_a_parent_that_is_ended(
    number: int, docker: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", "hang")
    output, hanging = tmp_path / "out" / "m.axmodel", tmp_path / "hanging"
    script = f"""
        from pathlib import Path
        from bevformer_lib.pulsar2.converter import Pulsar2Converter, Pulsar2Options
        def on_line(line):
            if "hangs" in line:
                Path({str(hanging)!r}).touch()
        converter = Pulsar2Converter(Pulsar2Options(recipe="int8", on_line=on_line))
        converter.convert(Path({str(world.model)!r}), Path({str(calibration)!r}), Path({str(output)!r}))
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=REPOSITORY, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not hanging.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(running_standins()) >= 2
    parent.send_signal(number)
    parent.communicate(timeout=30)
    assert not output.exists()
    if number != 9:
        assert list(output.parent.iterdir()) == []
