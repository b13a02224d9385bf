"""How long work reports its progress, without knowing who shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

ProgressCallback: TypeAlias = Callable[[str, int, int], None]
"""Called as ``(what, done, total)``: a short label, the finished units and all units of that label."""


def no_progress(what: str, done: int, total: int) -> None:
    """Show nothing."""
