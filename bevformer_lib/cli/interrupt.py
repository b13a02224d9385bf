"""Ctrl-C while modules load: extension modules abort the process when an exception passes through them."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Final

_AGAIN_SECONDS: Final = 0.05
_IMPORT_SYSTEM: Final = "<frozen importlib._bootstrap"


def interrupt_between_imports() -> None:
    """Let SIGINT raise ``KeyboardInterrupt`` in the main thread, but never inside an import: then soon after it."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGALRM, _interrupt)


def _interrupt(_signal: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORT_SYSTEM):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
            return
        frame = frame.f_back
    raise KeyboardInterrupt
