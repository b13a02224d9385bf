"""Streams that are closed, full or narrow, and interruptions while modules load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.toy_graph import write_toy_graph

BEVFORMER = (sys.executable, "-m", "flows.cli")
TRACEBACK = "Traceback"


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("\u6570\u636e")
    return write_toy_graph(folder / "toy.onnx")


def shell(command: str, graph: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    words = command.format(bevformer=" ".join(BEVFORMER), lint=f"lint '{graph}' --target AX650")
    return subprocess.run(
        ["bash", "-c", words], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


@pytest.mark.parametrize(
    "command",
    [
        "{bevformer} {lint} --json | true",
        "{bevformer} {lint} --json | head -c 1 >/dev/null",
        "{bevformer} {lint} >&-",
        "{bevformer} {lint} 2>&-",
        "{bevformer} {lint} >&- 2>&-",
    ],
)
def test_a_closed_stream_is_no_fault_of_the_program(graph: Path, command: str) -> None:
    done = shell(f"set -o pipefail; {command}", graph)
    assert TRACEBACK not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_full_disk_under_standard_output_is_one_error(graph: Path) -> None:
    done = shell("{bevformer} {lint} --json > /dev/full", graph)
    assert done.returncode == 1
    assert TRACEBACK not in done.stderr
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}]
)
def test_a_terminal_that_can_not_show_a_path(graph: Path, environment: dict[str, str]) -> None:
    done = shell("{bevformer} {lint}", graph, **environment)
    assert done.returncode == 0, done.stderr
    missing = shell("{bevformer} lint '/\u6570\u636e/none.onnx' --target AX650", graph, **environment)
    assert missing.returncode == 1
    assert TRACEBACK not in missing.stderr
    assert missing.stderr.startswith("error: ")


@pytest.mark.parametrize("after_s", [0.15, 0.3, 0.5, 0.8, 1.2])
def test_an_interruption_while_modules_load(graph: Path, after_s: float) -> None:
    child = subprocess.Popen(
        [*BEVFORMER, "profile", str(graph), "--runs", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(after_s)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    if "init_import_site" in said:
        pytest.skip("Python itself was not up yet: this machine is too busy for so early an interruption")
    assert child.returncode == 130, said
    assert TRACEBACK not in said
