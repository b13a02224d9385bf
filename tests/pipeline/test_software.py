"""What decides a step's outputs is in its key."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

from bevformer_lib import pipeline
from tests.pipeline.test_serialization import WORK

FOLDER = Path(pipeline.__file__).parent
PACKAGE = "bevformer_lib.pipeline."
DECIDES_NOTHING = {
    "builds": "records of builds",
    "inputs": "opens what a digest names",
    "linked": "gives files their names",
    "places": "finds files on this machine",
    "runtimes": "opens a runtime, which is in the key itself",
    "software": "makes the key",
}
READS = {
    ("evaluate", "record"): "opens the reference",
    ("diagnose", "record"): "opens the reference",
    ("gates", "diagnose"): "reads a file of its format",
    ("gates", "evaluate"): "reads a file of its format",
    ("gates", "measure"): "reads a file of its format",
    ("measure", "evaluate"): "reads a file of its format",
    ("report", "evaluate"): "reads a file of its format",
    ("report", "gates"): "reads a file of its format",
    ("report", "measure"): "reads a file of its format",
}
"""Step's module, module that it imports -> why a change of the latter leaves the step's outputs as they were."""


def step_modules() -> list[str]:
    """Modules whose steps have code in their keys."""
    texts = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.py"))}
    return [name for name, text in texts.items() if "code=" in text and "Step(" in text]


def test_all_steps_were_found() -> None:
    assert {"calibrate", "convert", "diagnose", "evaluate", "export", "gates", "measure", "record", "report"} <= set(
        step_modules()
    )
    assert not set(DECIDES_NOTHING) - {path.stem for path in FOLDER.glob("*.py")}


@pytest.mark.parametrize("step", step_modules())
def test_every_module_that_a_step_imports_is_in_its_key_or_decides_nothing(step: str) -> None:
    tree = ast.parse((FOLDER / f"{step}.py").read_text())
    imported = {
        node.module.removeprefix(PACKAGE)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PACKAGE)
    }
    named = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    missing = {
        name
        for name in imported
        if f"{PACKAGE}{name}" not in named and name not in DECIDES_NOTHING and (step, name) not in READS
    }
    assert not missing
    needless = [name for owner, name in READS if owner == step and name not in imported]
    assert not needless
    assert import_module(f"{PACKAGE}{step}")


@pytest.mark.parametrize("name", ["diagnose", "record-trials"])
def test_the_choice_of_the_frame_is_in_the_keys_of_what_tries_it(name: str) -> None:
    works = [work for work in WORK if work.step.name == name]
    assert works
    assert all(f"{PACKAGE}trial_frame" in work.step.packages for work in works)
