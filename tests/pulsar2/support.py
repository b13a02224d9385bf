"""Convert the toy model with stand-ins, and see what they leave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bevformer_lib.pulsar2.converter import Pulsar2Conversion, Pulsar2Converter, Pulsar2Options
from tests.support.calibration import ToyWorld


def convert(world: ToyWorld, calibration: Path, output: Path, **options: object) -> Pulsar2Conversion:
    settings = {"recipe": "int8", **options}
    converter = Pulsar2Converter(Pulsar2Options(**settings))  # type: ignore[arg-type]
    return converter.convert(world.model, calibration, output)


def expect_failure(
    world: ToyWorld, calibration: Path, output: Path, error: type[Exception], message: str, **options: object
) -> None:
    """Expect an error, and nothing where the output should have been."""
    with pytest.raises(error, match=message) as caught:
        convert(world, calibration, output, **options)
    assert type(caught.value) is error
    assert list(output.parent.iterdir()) == []


def running_standins() -> list[str]:
    """Command lines of stand-ins that run now."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                command = (folder / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                mine = str(os.getpid()) in (folder / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if "tests.standins." in command and mine:
                found.append(command)
    return found
