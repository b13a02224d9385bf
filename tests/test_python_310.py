"""The boards' Python, 3.10: everything that a board installs is imported, and its command line starts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
NOT_ON_A_BOARD = ("torch", "onnx", "onnxruntime", "onnxsim", "scipy", "rerun", "nuscenes", "pyquaternion")

IMPORT_ALL = f"""
import importlib, sys
from pathlib import Path
failed = []
for package in ("bevformer_lib", "tasks", "flows"):
    for path in sorted(Path(package).rglob("*.py")):
        name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in {NOT_ON_A_BOARD!r}:
                failed.append(f"{{name}}: {{error}}")
        except Exception as error:
            failed.append(f"{{name}}: {{type(error).__name__}}: {{error}}")
print("\\n".join(failed))
sys.exit(bool(failed))
"""


def python_310() -> str | None:
    """Return a Python 3.10 of this machine: on the path, or one of pyenv's that is not active."""
    found = shutil.which("python3.10")
    if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
        return found
    versions = sorted((Path.home() / ".pyenv" / "versions").glob("3.10.*/bin/python3.10"))
    return str(versions[-1]) if versions else None


@pytest.mark.slow
def test_a_boards_packages_work_on_python_310(tmp_path: Path) -> None:
    python = python_310()
    if python is None:
        pytest.skip("no Python 3.10 on this machine")
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True)
    installed = subprocess.run(
        [tmp_path / "venv/bin/python", "-m", "pip", "install", "--quiet", f"{PROJECT}[edge]"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    if "Could not fetch URL" in installed.stderr or "NewConnectionError" in installed.stderr:
        pytest.skip("no package index in reach")
    assert installed.returncode == 0, installed.stderr
    imported = subprocess.run(
        [tmp_path / "venv/bin/python", "-c", IMPORT_ALL], capture_output=True, text=True, cwd=PROJECT, check=False
    )
    assert imported.returncode == 0, imported.stdout + imported.stderr
    shown = subprocess.run([tmp_path / "venv/bin/bevformer", "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0
    assert "doctor" in shown.stdout
