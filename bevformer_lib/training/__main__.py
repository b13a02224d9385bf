"""``python -m bevformer_lib.training``: all settings of a training, where the command line's packages are missing."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import typing
from pathlib import Path
from typing import Any

from bevformer_lib.errors import BevformerError
from bevformer_lib.training.run import TrainingRun, seed_range, train
from bevformer_lib.training.settings import TrainingSettings


def main() -> int:
    """Train; return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    own = {field.name for field in dataclasses.fields(TrainingRun)}
    try:
        given = vars(command_line().parse_args())
        train(
            TrainingRun(**{name: value for name, value in given.items() if name in own}),
            TrainingSettings(**{name: value for name, value in given.items() if name not in own}),
        )
    except BevformerError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def command_line() -> argparse.ArgumentParser:
    """Return the parser: an option for every field of a run and of the settings."""
    parser = argparse.ArgumentParser(prog="python -m bevformer_lib.training", description=__doc__)
    for owner in (TrainingRun, TrainingSettings):
        hints = typing.get_type_hints(owner)
        for field in dataclasses.fields(owner):
            _add(parser, field, str(hints[field.name]))
    return parser


def _add(parser: argparse.ArgumentParser, field: dataclasses.Field[Any], hint: str) -> None:
    option = "--" + field.name.replace("_", "-")
    if field.name == "config":
        parser.add_argument("config")
    elif "bool" in hint:
        parser.add_argument(option, action=argparse.BooleanOptionalAction, default=field.default)
    else:
        kind: Any = str
        for known, convert in (("tuple", seed_range), ("Path", Path), ("float", float), ("int", int)):
            if known in hint:
                kind = convert
                break
        required = field.default is dataclasses.MISSING
        parser.add_argument(option, type=kind, required=required, default=None if required else field.default)


if __name__ == "__main__":
    sys.exit(main())
