"""Run the converter as a child process that is never left behind.

Its output is streamed line by line. It is stopped when the caller is interrupted (Ctrl-C, SIGTERM, any exception),
asks for it, when time is up, or when memory is; and a watchdog process stops it even if this process is killed.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from bevformer_lib.pulsar2 import watchdog
from bevformer_lib.pulsar2.errors import (
    BuildCancelledError,
    BuildMemoryError,
    BuildTimeoutError,
    ToolMissingError,
)
from bevformer_lib.pulsar2.orphaned_containers import holding

LineCallback = Callable[[str], None]
"""Called with every line of a child's output, without its end."""

MAX_KEPT_LINES: Final = 50_000
_LOOK_SECONDS: Final = 0.2
_SILENT_LOOKS: Final = 5
_STOP_SECONDS: Final = 5.0
_CHUNK_BYTES: Final = 1 << 16
_ENDS_OF_LINES: Final = re.compile(rb"\r\n|\n|\r")
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Invocation:
    """A command, and how to stop what it starts.

    Attributes:
        stop: command that stops the container behind it; empty: there is none, the process group is all.
        lock: file that is made and held locked while the process that can stop the container lives; ``None``: none.
    """

    command: tuple[str, ...]
    stop: tuple[str, ...] = ()
    lock: Path | None = None
    cwd: Path | None = None


@dataclass(frozen=True)
class Limits:
    """What a child may use.

    Attributes:
        seconds: longest time; ``None``: no limit.
        memory_bytes: most memory; ``None``: no limit.
        cancelled: set by another thread to stop the child.
    """

    seconds: float | None = None
    memory_bytes: int | None = None
    cancelled: threading.Event | None = None


@dataclass(frozen=True)
class Completed:
    """A child that ended by itself.

    Attributes:
        returncode: its exit status; negative: the signal that ended it.
        lines: its output, at most the last :data:`MAX_KEPT_LINES` lines.
    """

    returncode: int
    lines: tuple[str, ...]
    seconds: float


def run_child(invocation: Invocation, *, limits: Limits, on_line: LineCallback | None = None) -> Completed:
    """Run a command to its end.

    Raises:
        ToolMissingError: the command can't be started.
        BuildTimeoutError: it was stopped at its time limit.
        BuildMemoryError: it was stopped at its memory limit (native processes; docker enforces its own).
        BuildCancelledError: ``limits.cancelled`` was set.
    """
    with _sigterm_interrupts(), _held(invocation.lock) as held:
        started = time.monotonic()
        child = _start(invocation)
        watcher: _Watchdog | None = None
        try:
            watcher = _Watchdog(child.pid, invocation.stop, held)
            lines = _follow(child, invocation, limits, started, on_line)
            _end_group(child.pid)
            watcher.release()
        except BaseException:
            stop(child, invocation)
            if watcher is not None:
                watcher.release()
            raise
        finally:
            # Where stopping was itself interrupted, the watchdog has not been released, and stops the child now.
            if watcher is not None:
                watcher.close()
            if child.stdout is not None:
                child.stdout.close()
    return Completed(child.returncode, tuple(lines), time.monotonic() - started)


def stop(child: subprocess.Popen[bytes], invocation: Invocation) -> None:
    """End a child, its group, and the container behind it; returns when they are gone."""
    if not invocation.stop:
        _end_group(child.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_STOP_SECONDS)
    deadline = time.monotonic() + _STOP_SECONDS
    # The container may not exist yet: its client is asked for it only once it runs.
    while invocation.stop and not _stop_container(invocation) and child.poll() is None:
        if time.monotonic() > deadline:
            break
        time.sleep(_LOOK_SECONDS)
    if invocation.stop:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_STOP_SECONDS)
    if child.poll() is None and invocation.stop:
        _end_group(child.pid)
        _stop_container(invocation)
    _end_group(child.pid)
    child.wait()


def _stop_container(invocation: Invocation) -> bool:
    stopped = subprocess.run(invocation.stop, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return stopped.returncode == 0


def _start(invocation: Invocation) -> subprocess.Popen[bytes]:
    try:
        # A session of its own: Ctrl-C at the terminal must reach us, and we stop it in order.
        return subprocess.Popen(
            invocation.command,
            cwd=invocation.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise ToolMissingError(f"{invocation.command[0]}: can't be started ({error.strerror or error})") from error


def _follow(
    child: subprocess.Popen[bytes],
    invocation: Invocation,
    limits: Limits,
    started: float,
    on_line: LineCallback | None,
) -> deque[str]:
    """Stream a child's output until it ends, and watch its limits."""
    kept: deque[str] = deque(maxlen=MAX_KEPT_LINES)
    arrived: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    assert child.stdout is not None  # noqa: S101 - asked for as a pipe
    threading.Thread(target=_read, args=(child.stdout, arrived), daemon=True).start()
    silent_looks = 0
    while True:
        try:
            line = arrived.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            line = ""
        if line is None:
            break
        if line:
            kept.append(line)
            if on_line is not None:
                on_line(line)
        elif child.poll() is not None:
            # Something that it started may hold the pipe open, and never close it.
            silent_looks += 1
            if silent_looks >= _SILENT_LOOKS:
                break
        _check_limits(child, invocation, limits, started)
    while child.poll() is None:
        _check_limits(child, invocation, limits, started)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_LOOK_SECONDS)
    return kept


def _check_limits(child: subprocess.Popen[bytes], invocation: Invocation, limits: Limits, started: float) -> None:
    name = Path(invocation.command[0]).name
    if limits.cancelled is not None and limits.cancelled.is_set():
        raise BuildCancelledError(f"{name}: was cancelled and stopped; nothing was written")
    if limits.seconds is not None and time.monotonic() - started > limits.seconds:
        raise BuildTimeoutError(
            f"{name}: was stopped after its time limit of {limits.seconds:g} s; give it more, or fewer samples"
        )
    if limits.memory_bytes is not None and not invocation.stop:
        used = _group_memory(child.pid)
        if used > limits.memory_bytes:
            raise BuildMemoryError(
                f"{name}: was killed for memory: it used {used / 1e9:.1f} GB of the allowed "
                f"{limits.memory_bytes / 1e9:.1f} GB; allow more, or use fewer calibration samples"
            )


def _read(output: IO[bytes], arrived: queue.SimpleQueue[str | None]) -> None:
    """Put a stream's lines into a queue, then ``None``; a carriage return ends a line too (progress bars)."""
    rest = b""
    with contextlib.suppress(OSError, ValueError):
        while chunk := os.read(output.fileno(), _CHUNK_BYTES):
            *lines, rest = _ENDS_OF_LINES.split(rest + chunk)
            for line in lines:
                _put(line, arrived)
    _put(rest, arrived)
    arrived.put(None)


def _put(line: bytes, arrived: queue.SimpleQueue[str | None]) -> None:
    text = _ESCAPES.sub("", line.decode("utf-8", "replace")).rstrip()
    if text:
        arrived.put(text)


def _end_group(group: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _group_memory(group: int) -> int:
    """Return the resident memory of a process group in bytes."""
    total = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # The name in parentheses may hold anything; the fields after it are numbers.
                fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(fields[2]) == group:
                    total += int((folder / "statm").read_text().split()[1]) * _PAGE_BYTES
    return total


class _Watchdog:
    """The watchdog process of one child."""

    def __init__(self, group: int, stop_container: Sequence[str], held: Sequence[int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", watchdog.__file__, str(group), *stop_container],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=held,
        )

    def close(self) -> None:
        """Close the pipe; without :meth:`release` the watchdog then stops everything."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()

    def release(self) -> None:
        """Tell the watchdog that nothing is left to stop."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(watchdog.DONE)


@contextlib.contextmanager
def _held(lock: Path | None) -> Iterator[tuple[int, ...]]:
    """Hold a lock file, if there is one to hold; gives the descriptors that the watchdog has to inherit."""
    if lock is None:
        yield ()
        return
    with holding(lock) as descriptor:
        yield (descriptor,)


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Make SIGTERM an interrupt, so that what is cleaned up on Ctrl-C is cleaned up then too.

    Only where SIGTERM has its default handler, and only in the main thread, where signals can be set.
    """
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not ours:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
