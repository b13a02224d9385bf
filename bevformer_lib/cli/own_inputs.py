"""No command writes over what it reads: decided once, for all commands, before any of them runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bevformer_lib.errors import OutputError

OUTPUTS: Final = frozenset({"output", "output_dir", "log", "results"})
"""Parameters of commands, whatever the command, that name what is written; all others are read."""


def require_other_outputs(bound: inspect.BoundArguments) -> None:
    """Refuse a command line in which something that is written is read as well, or is written twice.

    Args:
        bound: the command's arguments, as its function gets them.

    Raises:
        OutputError: two of them are the same file or folder.
    """
    named = [(name, path) for name, value in bound.arguments.items() for path in _paths(value)]
    for position, (name, path) in enumerate(named):
        for other, other_path in named[position + 1 :]:
            if OUTPUTS.isdisjoint((name, other)) or not _is_same(path, other_path):
                continue
            output, rest = (name, other) if name in OUTPUTS else (other, name)
            shown = other_path if output == other else path
            what = "written" if rest in OUTPUTS else "read"
            raise OutputError(f"{shown}: would be written as {_said(output)} and {what} as {_said(rest)}; name another")


def _paths(value: Any) -> Iterator[Path]:
    """Return the paths of an argument: one, several, or text that names something that is there."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, str):
        path = Path(value)
        if _exists(path):
            yield path
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _paths(one)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _is_same(one: Path, other: Path) -> bool:
    if _exists(one) and _exists(other):
        return one.samefile(other)
    try:
        return one.resolve() == other.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a zero byte: said where the path is used
        return False


def _said(name: str) -> str:
    return name.replace("_", "-")
