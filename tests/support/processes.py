"""Processes of a test that must not outlive it, even if the test itself is killed."""

from __future__ import annotations

import ctypes
import signal

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent is gone; for ``preexec_fn`` (Linux)."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
