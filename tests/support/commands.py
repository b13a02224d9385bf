"""Run the command line inside the test process."""

from __future__ import annotations

from pathlib import Path

from bevformer_lib.cli.app import LIBRARY_COMMANDS, run


def bevformer(*arguments: str | Path) -> int:
    """Run ``bevformer`` with these arguments and return its exit status."""
    return run(LIBRARY_COMMANDS, [str(argument) for argument in arguments])
