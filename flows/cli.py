"""The `bevformer` command: the library's commands and the flows."""

from __future__ import annotations

import sys

from bevformer_lib.cli.app import LIBRARY_COMMANDS, run

COMMANDS = {
    "build": ("flows.build_command", "Checkpoint and scenes to a quantised, verified model and a report."),
    **LIBRARY_COMMANDS,
}


def main() -> None:
    """Entry point of `bevformer`."""
    sys.exit(run(COMMANDS))


if __name__ == "__main__":
    main()
