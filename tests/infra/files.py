"""The files of `infra/`, for the tests that validate what can't be run here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import Settings
from prefect.settings.legacy import _get_settings_fields

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
PACKAGES_SETTINGS = ("PREFECT_REDIS_MESSAGING_", "PREFECT_INTEGRATIONS_KUBERNETES_")
"""Of the packages prefect-redis and prefect-kubernetes, which are in Prefect's own images."""


def check(tool: str, *arguments: str | Path) -> None:
    """Run a checker; its complaint is the test's failure."""
    beside_python = Path(sys.executable).parent / tool
    command = str(beside_python) if beside_python.exists() else shutil.which(tool)
    if command is None:
        pytest.skip(f"{tool} is not installed here")
    completed = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr


def unknown_prefect_settings(names: object) -> list[str]:
    """Return the names that look like settings of Prefect but are none."""
    known = _get_settings_fields(Settings)
    return [
        name
        for name in names  # type: ignore[attr-defined]
        if name.startswith("PREFECT_") and name not in known and not name.startswith(PACKAGES_SETTINGS)
    ]
