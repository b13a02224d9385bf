"""Keeping what a vendor's library prints out of this program's standard output."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Final

_STDOUT: Final = 1
_STDERR: Final = 2


@contextlib.contextmanager
def stdout_kept_apart(log: logging.Logger) -> Iterator[None]:
    """Send to ``log``, at level DEBUG, what the block prints: by ``print`` and by the C libraries below it.

    Standard output is one for all threads: what another thread prints meanwhile goes to the log too.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), _descriptor_kept_apart(printed):
            yield
    finally:
        for line in filter(None, map(str.rstrip, printed.getvalue().splitlines())):
            log.debug("%s", line)


def send_last_words_to_stderr() -> None:
    """Let what is printed while the process ends, after its own output, go to standard error.

    Drivers have something to say when they shut down. To be called whenever the library that loads them may have
    registered its own farewell, also where it failed then: what is registered last runs first.
    """
    atexit.unregister(_stdout_to_stderr)
    atexit.register(_stdout_to_stderr)


def _stdout_to_stderr() -> None:
    _flush()
    with contextlib.suppress(OSError):
        os.dup2(_STDERR, _STDOUT)


@contextlib.contextmanager
def _descriptor_kept_apart(into: io.StringIO) -> Iterator[None]:
    """Point the process's file descriptor 1 at a file for the block; then add what that holds to ``into``."""
    _flush()
    try:
        kept = os.dup(_STDOUT)
    except OSError:  # closed, as a daemon's may be
        yield
        return
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), _STDOUT)
            try:
                yield
            finally:
                _flush()
                os.dup2(kept, _STDOUT)
                file.seek(0)
                into.write(file.read().decode(errors="replace"))
    finally:
        os.close(kept)


def _flush() -> None:
    """Write out what Python and the C library still hold for standard output."""
    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None and not stream.closed:
            stream.flush()
    with contextlib.suppress(OSError):
        ctypes.CDLL(None).fflush(None)
