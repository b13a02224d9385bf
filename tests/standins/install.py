"""Put stand-ins on a path, as commands."""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = {"pulsar2": "tests.standins.pulsar2", "docker": "tests.standins.docker"}


def install_standin(command: str, folder: Path) -> Path:
    """Write an executable that runs the stand-in of ``command``, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / command
    path.write_text(
        f'#!/bin/sh\nPYTHONPATH="{REPOSITORY}" exec "{sys.executable}" -m {MODULES[command]} "$@"\n',
        encoding="utf-8",
    )
    path.chmod(0o755)
    return path
