from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.infra.files import INFRA, check, unknown_prefect_settings

INSTALL = INFRA / "edge" / "install.sh"
UNIT = INFRA / "edge" / "bevformer-worker.service"

FAKE_PYTHON = """#!/bin/bash
# Makes a virtual environment's folder; everything else is written down.
if [ "$1" = "-m" ] && [ "$2" = "venv" ]; then
  mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
elif [ "$1" = "-c" ]; then
  exit "${FAKE_VERSION_STATUS:-0}"
else
  printf '%s\\n' "$*" >> "$FAKE_LOG"
fi
"""


@pytest.fixture
def board(tmp_path: Path):
    """A folder as a board's root, with wheels to install and a Python that writes down what it is asked."""
    python = tmp_path / "python3"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    for wheel in ("product.whl", "axengine.whl"):
        (tmp_path / wheel).touch()

    def install(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [str(INSTALL), "--root", str(tmp_path / "root"), "--python", str(python), *arguments]
        variables = {**os.environ, "FAKE_LOG": str(tmp_path / "log"), **environment}
        return subprocess.run(command, capture_output=True, text=True, env=variables, cwd=tmp_path, check=False)

    return install


def test_shellcheck() -> None:
    check("shellcheck", INSTALL)


def test_the_unit(tmp_path: Path) -> None:
    # systemd looks for the program that a unit starts; a board has it, this machine has not.
    text = UNIT.read_text().replace("/opt/bevformer/bin/prefect", "/bin/true")
    copy = tmp_path / UNIT.name
    copy.write_text(text)
    check("systemd-analyze", "verify", "--man=no", copy)
    environment = text.partition("\nEnvironment=")[2].splitlines()[0].split()
    assert unknown_prefect_settings([entry.partition("=")[0] for entry in environment]) == []


def test_a_board_is_installed_and_its_settings_are_kept_when_it_is_updated(board, tmp_path: Path) -> None:
    first = board("--package", "product.whl", "--axengine", "axengine.whl")
    assert first.returncode == 0, first.stderr
    root = tmp_path / "root"
    assert (root / "etc/systemd/system" / UNIT.name).read_bytes() == UNIT.read_bytes()
    settings = root / "etc/bevformer/worker.env"
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    names = [line.partition("=")[0] for line in settings.read_text().splitlines() if not line.startswith("#")]
    assert "PREFECT_API_URL" in names and unknown_prefect_settings(names) == []
    assert (tmp_path / "log").read_text() == "-m pip install --upgrade product.whl[edge] axengine.whl\n"

    settings.write_text("PREFECT_API_URL=http://mine:4200/api\n")
    assert board("--package", "product.whl", "--axengine", "axengine.whl").returncode == 0
    assert settings.read_text() == "PREFECT_API_URL=http://mine:4200/api\n"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 2, "usage:"),
        (("--package", "product.whl"), 2, "usage:"),
        (("--package",), 2, "usage:"),
        (("--colour", "red"), 2, "usage:"),
        (("--package", "nothing.whl", "--axengine", "axengine.whl"), 1, "nothing.whl does not exist"),
        (("--package", "product.whl", "--axengine", "nothing.whl"), 1, "pyaxengine/releases"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_changed(
    board, tmp_path: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    completed = board(*arguments)
    assert completed.returncode == status and said in completed.stderr
    assert not (tmp_path / "root").exists()


def test_an_old_python_is_refused(board, tmp_path: Path) -> None:
    completed = board("--package", "product.whl", "--axengine", "axengine.whl", FAKE_VERSION_STATUS="1")
    assert completed.returncode == 1 and "not Python 3.10 or later" in completed.stderr
    assert not (tmp_path / "root").exists()
