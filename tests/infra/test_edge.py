from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

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


def make_wheel(folder: Path, name: str, said: str) -> str:
    """Write a wheel of version 0.1.0 whose command `prefect` says something; return the file's name."""
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\nProvides-Extra: edge\n"
    files = {
        f"{name}.py": f"def main() -> None:\n    print({said!r})\n",
        f"{name}-0.1.0.dist-info/METADATA": metadata,
        f"{name}-0.1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if name == "product":
        files[f"{name}-0.1.0.dist-info/entry_points.txt"] = f"[console_scripts]\nprefect = {name}:main\n"
    record = f"{name}-0.1.0.dist-info/RECORD"
    path = folder / f"{name}-0.1.0-py3-none-any.whl"
    with ZipFile(path, "w") as wheel:
        for inside, text in files.items():
            wheel.writestr(inside, text)
        wheel.writestr(record, "".join(f"{inside},,\n" for inside in [*files, record]))
    return path.name


@pytest.mark.slow
def test_a_board_runs_what_was_installed_last_from_where_the_unit_starts_it(tmp_path: Path) -> None:
    """With a real Python and pip, in a folder that becomes the board's root."""
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_NO_COMPILE": "1"}
    home = tmp_path / "root" / "opt" / "bevformer"
    for said in ("old", "new"):
        wheels = [make_wheel(tmp_path, name, said) for name in ("product", "axengine")]
        command = [
            INSTALL,
            "--root",
            "root",
            "--python",
            sys.executable,
            "--package",
            wheels[0],
            "--axengine",
            wheels[1],
        ]
        completed = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
        assert completed.returncode == 0, completed.stderr
        printed = subprocess.run(
            [home / "bin/python", home / "bin/prefect"], capture_output=True, text=True, check=True
        )
        assert printed.stdout == f"{said}\n"
    started = UNIT.read_text().partition("\nExecStart=")[2].split()[0]
    script = tmp_path / "root" / started.lstrip("/")
    assert script.read_text().splitlines()[0] == "#!/opt/bevformer/bin/python"
    for path in [*home.glob("bin/*"), home / "pyvenv.cfg"]:
        assert path.is_symlink() or str(tmp_path / "root") not in path.read_text(errors="replace"), path


def test_what_is_left_to_do_is_said_as_it_has_to_be_done(
    board: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    said = board("--package", "product.whl", "--axengine", "axengine.whl").stdout
    for step in ("groupadd --system bevformer-npu", "useradd --system", "systemctl enable --now bevformer-worker"):
        assert f"\n  {step}" in said
    (line,) = [line for line in said.splitlines() if "doctor" in line]
    *options, program, command, role, edge = shlex.split(line)
    assert (program, command, role, edge) == ("/opt/bevformer/bin/bevformer", "doctor", "--role", "edge")
    assert options[0] == "systemd-run"
    unit = UNIT.read_text()
    for option in options:
        if option.startswith("--property="):
            assert f"\n{option.removeprefix('--property=')}\n" in unit
        if option.startswith("--setenv="):
            assert option.removeprefix("--setenv=") in unit.partition("\nEnvironment=")[2].splitlines()[0].split()
    assert "--property=EnvironmentFile=/etc/bevformer/worker.env" in options


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
    rules = root / "etc/udev/rules.d/70-bevformer-npu.rules"
    assert 'GROUP="bevformer-npu"' in rules.read_text()

    for changed in (settings, rules):
        changed.write_text("of this board\n")
    assert board("--package", "product.whl", "--axengine", "axengine.whl").returncode == 0
    for changed in (settings, rules):
        assert changed.read_text() == "of this board\n"


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
