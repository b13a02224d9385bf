"""What decides a step's outputs is in its key."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

from bevformer_lib import pipeline
from bevformer_lib.pipeline import software
from bevformer_lib.pipeline.report import ReportWork
from tests.pipeline.test_serialization import GRAPH, MODEL, NEEDS, WORK

FOLDER = Path(pipeline.__file__).parent
PACKAGE = "bevformer_lib.pipeline."
DECIDES_NOTHING = {
    "builds": "records of builds",
    "inputs": "opens what a digest names",
    "input_locations": "finds files on this machine",
    "linked": "gives files their names",
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
    ("report", "convert"): "reads a file of its format",
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
    assert all(f"{PACKAGE}diagnosed_frame" in work.step.packages for work in works)


def test_every_section_and_template_of_the_report_is_in_its_key() -> None:
    work = ReportWork(MODEL, (), {}, (), GRAPH, NEEDS, "INT8 model", {})
    assert {"bevformer_lib.report", "bevformer_lib.report.sections"} <= set(work.step.packages)


@pytest.mark.parametrize("name", ["__init__.py", "section.py", "section.html", "page.css"])
def test_a_changed_template_is_another_package(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = f"pages_{name.replace('.', '_')}"
    for file in ("__init__.py", "section.py", "section.html", "page.css"):
        path = tmp_path / package / file
        path.parent.mkdir(exist_ok=True)
        path.write_text("# one\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = software.software(code=(package,))
    (tmp_path / package / name).write_text("# another\n")
    software._code_digest.cache_clear()
    assert software.software(code=(package,)) != before
