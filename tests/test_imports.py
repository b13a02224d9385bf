"""Imports go flows -> tasks -> bevformer_lib; the library knows no Prefect, and what runs on a board no PyTorch."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = {"bevformer_lib": {"prefect", "tasks", "flows", "tests"}, "tasks": {"flows", "tests"}, "flows": {"tests"}}
ON_THE_BOARD = (
    "config",
    "scenes",
    "runtime",
    "backends",
    "detections",
    "metrics",
    "evaluate",
    "infer",
    "drawing",
    "store",
    "report",
    "calibration",
    "cli",
)
NOT_ON_THE_BOARD = {"torch", "onnx", "onnxruntime", "onnxsim"}


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the top-level package of every import statement, also of those inside functions, and its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((name.name.partition(".")[0], node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0], node.lineno


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_import_goes_up(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    up = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files
        for name, line in imported(path)
        if name in FORBIDDEN[package]
    ]
    assert not up


def test_the_check_sees_an_import_inside_a_function(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("def work():\n    from tasks.step import step_task\n")
    assert list(imported(module)) == [("tasks", 2)]


def test_what_runs_on_a_board_imports_no_pytorch() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for part in ON_THE_BOARD
        for path in sorted((ROOT / "bevformer_lib" / part).rglob("*.py"))
    ]
    program = f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\n"
    program += f"print(sorted({NOT_ON_THE_BOARD!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_a_planted_circle_breaks_the_contract(tmp_path: Path) -> None:
    for package in ("flows", "tasks", "bevformer_lib"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    whole = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stdout
    with (tmp_path / "bevformer_lib" / "geometry" / "pillars.py").open("a") as module:
        module.write("\n\ndef later() -> None:\n    from bevformer_lib.export import parity  # noqa: F401\n")
    planted = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert planted.returncode == 1
    assert "bevformer_lib.geometry is not allowed to import bevformer_lib.export" in planted.stdout
