"""The `bevformer` command: the library's commands and the flows."""

from __future__ import annotations

import sys
from collections.abc import Mapping


def commands() -> Mapping[str, tuple[str, str]]:
    """Return command name -> (module that holds a function ``command``, one-line help)."""
    from bevformer_lib.cli.app import LIBRARY_COMMANDS

    build = ("flows.build_command", "Checkpoint and scenes to a quantised, verified model and a report.")
    return {"build": build, **LIBRARY_COMMANDS}


def main() -> None:
    """Entry point of `bevformer`; whatever is imported is imported where an interruption is understood."""
    try:
        from bevformer_lib.cli.interrupt import interrupt_between_imports

        interrupt_between_imports()
        from bevformer_lib.cli.app import run

        status = run(commands())
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
