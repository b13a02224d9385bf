"""The board's lock, between processes."""

from __future__ import annotations

import gc
import logging
import os
import select
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.runtime.axengine import AxEngineRuntime
from bevformer_lib.runtime.board import LOCK_VARIABLE, lock_path, take_board
from tests.support.board import be_a_board, compile_graph
from tests.support.toy_graph import write_toy_graph

ROOT = Path(__file__).parents[2]
TAKE = """
import logging, sys
logging.basicConfig(format="%(message)s")
from bevformer_lib.runtime.board import take_board
take_board()
print("has it", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "board.lock"
    monkeypatch.setenv(LOCK_VARIABLE, str(path))
    return path


@contextmanager
def the_board() -> Iterator[None]:
    give_back = take_board()
    yield
    give_back()


class Other:
    """Another program that takes the board and keeps it until it is ended."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def said(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline().decode()

    def has_it(self, seconds: float = 30.0) -> bool:
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return bool(ready)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def others() -> Iterator[list[Other]]:
    started: list[Other] = []
    yield started
    for other in started:
        other.end()


def test_another_program_waits_and_says_for_whom(others: list[Other]) -> None:
    with the_board():
        others.append(waiting := Other())
        said = waiting.said()
        assert f"in use by process {os.getpid()} of " in said
        assert not waiting.has_it(0.0)
    assert waiting.has_it()


def test_the_board_of_a_killed_program_is_free(others: list[Other]) -> None:
    others += [first := Other()]
    assert first.has_it()
    others += [second := Other()]
    assert f"in use by process {first.process.pid} of " in second.said()
    first.process.kill()
    assert second.has_it()


def test_a_program_may_take_it_more_than_once(others: list[Other]) -> None:
    give_back = take_board()
    with the_board():
        others.append(waiting := Other())
        waiting.said()
    assert not waiting.has_it(0.0)
    give_back()
    assert waiting.has_it()


def test_whoever_loads_a_model_onto_the_npu_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: list[Other]
) -> None:
    be_a_board(monkeypatch)
    runtime = AxEngineRuntime(compile_graph(write_toy_graph(tmp_path / "toy.onnx"), tmp_path / "toy.axmodel"))
    others.append(waiting := Other())
    assert f"process {os.getpid()} " in waiting.said()
    del runtime
    gc.collect()
    assert waiting.has_it()


def test_a_model_that_cannot_be_loaded_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: list[Other]
) -> None:
    be_a_board(monkeypatch)
    (tmp_path / "bad.axmodel").write_bytes(b"no model")
    with pytest.raises(RuntimeUnavailableError, match="can't load it") as raised:
        AxEngineRuntime(tmp_path / "bad.axmodel")
    others.append(other := Other())
    assert other.has_it()
    assert raised.value.__traceback__ is not None, "kept meanwhile, and with it what failed"


def test_every_user_may_take_it_and_it_is_one_for_all(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    umask = os.umask(0o077)
    try:
        with the_board():
            pass
    finally:
        os.umask(umask)
    assert stat.S_IMODE(lock.stat().st_mode) == 0o666
    monkeypatch.delenv(LOCK_VARIABLE)
    found = lock_path()
    for name in ("BEVFORMER_CACHE", "TMPDIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, "/of/one/user")
    assert lock_path() == found


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "absent" / "lock"))
    with pytest.raises(RuntimeUnavailableError, match=rf"absent/lock: can't be opened .*{LOCK_VARIABLE}"):
        take_board()
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "lock"))
    with the_board():
        logging.getLogger(__name__).debug("a failure leaves nothing behind")
