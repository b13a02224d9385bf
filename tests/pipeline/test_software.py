"""What decides a step's outputs is in its key, and what made it run is named."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from bevformer_lib import pipeline
from bevformer_lib.backends.converters import CONVERTERS
from bevformer_lib.backends.runtimes import RUNTIMES
from bevformer_lib.pipeline.closure import FOLDER, code_of
from bevformer_lib.pipeline.convert import ConvertWork
from bevformer_lib.pipeline.diagnose import DiagnoseWork
from bevformer_lib.pipeline.evaluate import EvaluateWork
from bevformer_lib.pipeline.report import ReportWork
from bevformer_lib.pipeline.work import Work
from bevformer_lib.store.explain import why_run
from tests.pipeline.test_serialization import GRAPH, MODEL, NEEDS, SCENE, WORK

REPORT = ReportWork(MODEL, (), {}, (), GRAPH, NEEDS, "INT8 model", {})
BY_STRING = {
    "backends/converters.py": "the step gives the chosen converter",
    "backends/runtimes.py": "the step gives the chosen runtime",
    "pipeline/convert.py": "the step gives the chosen converter",
    "pipeline/serialization.py": "no step",
    "ptq/passes.py": "the step gives the chosen passes",
    "recordings/packages.py": "no step",
    "report/page.py": "the step gives the package of the sections",
    "runtime/axengine.py": "the vendor's package",
    "verify/openmmlab.py": "no step",
}
"""Modules that import what a string names -> why nothing is missing in the keys of steps."""


def converted_by(converter: str) -> Work:
    return ConvertWork(GRAPH, {"calibration_img.tar.gz": GRAPH}, converter, "cpu")


@pytest.mark.parametrize("work", [*WORK, REPORT], ids=lambda work: work.step.title)
def test_all_that_a_step_imports_is_in_its_key(work: Work) -> None:
    assert code_of(type(work).__module__).items() <= work.step.packages.items()


def test_another_diagnosis_does_not_run_the_float_model_over_all_scenes_again() -> None:
    """It takes seconds a frame for a model of full size."""
    by_step = {work.step.name: work.step.packages for work in WORK}
    assert "bevformer_lib.evaluate.diagnosis" in by_step["record-diagnosis"]
    assert "bevformer_lib.evaluate.diagnosis" not in by_step["record"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_only_the_runtime_that_was_asked_for_is_in_the_key(runtime: str) -> None:
    recorded = EvaluateWork(SCENE, GRAPH, GRAPH, GRAPH, NEEDS, runtime, "cpu", None, GRAPH).step.packages
    assert {module for module in RUNTIMES.values() if module in recorded} == {RUNTIMES[runtime]}
    run = DiagnoseWork((SCENE,), GRAPH, GRAPH, {}, NEEDS, runtime, "cpu").step.packages
    assert {RUNTIMES[runtime], RUNTIMES["onnxruntime"]} <= set(run)


@pytest.mark.parametrize(("converter", "others"), [("onnxruntime", {"pulsar2", "emulator"}), ("pulsar2", {"emulator"})])
def test_no_converter_that_was_not_asked_for_is_in_the_key(converter: str, others: set[str]) -> None:
    packages = converted_by(converter).step.packages
    assert CONVERTERS[converter] in packages
    assert not {CONVERTERS[other] for other in others} & set(packages)


def test_every_section_and_template_of_the_report_is_in_its_key() -> None:
    files = (FOLDER / "bevformer_lib" / "report" / "sections").glob("[!_]*.*")
    names = {path.relative_to(FOLDER).as_posix() for path in files}
    modules = {name.removesuffix(".py").replace("/", ".") if name.endswith(".py") else name for name in names}
    assert modules
    assert modules <= set(REPORT.step.packages)


def test_the_policy_that_ships_is_in_the_key_of_the_gates() -> None:
    assert "bevformer_lib/gates/default.yaml" in code_of("bevformer_lib.pipeline.gates")


def test_the_table_of_operators_is_in_the_key_of_the_export() -> None:
    assert "bevformer_lib/export/data/npu_operators.json" in WORK[0].step.packages


def test_modules_that_import_by_name_are_known() -> None:
    library = FOLDER / "bevformer_lib"
    found = {
        path.relative_to(library).as_posix()
        for path in library.rglob("*.py")
        if any(word in path.read_text() for word in ("import_module(", "__import__(", "iter_modules("))
    }
    assert found == set(BY_STRING)


def test_explain_names_the_module_that_made_a_step_run() -> None:
    step = next(work for work in WORK if isinstance(work, EvaluateWork)).step
    before = {**step.packages, "bevformer_lib.config.load": "0" * 12}
    reason = why_run(step, dataclasses.replace(step, packages=before))
    assert reason.startswith("bevformer_lib.config.load changed")


def test_inputs_that_changed_as_well_do_not_hide_the_module() -> None:
    step = next(work for work in WORK if isinstance(work, EvaluateWork)).step
    before = {**step.packages, "bevformer_lib.config.load": "0" * 12}
    others = {name: dataclasses.replace(artifact, sha256="f" * 64) for name, artifact in step.inputs.items()}
    reason = why_run(step, dataclasses.replace(step, packages=before, inputs=others))
    assert len(others) == 5
    assert ", 2 more of its inputs, bevformer_lib.config.load changed 000000000000 -> " in reason


def test_the_code_of_all_steps_is_found_in_no_time() -> None:
    modules = [f"bevformer_lib.pipeline.{path.stem}" for path in Path(pipeline.__file__).parent.glob("*.py")]
    program = f"""
import time
from bevformer_lib.pipeline.closure import code_of
begun = time.process_time()
for module in {modules!r}:
    code_of(module)
print(time.process_time() - begun)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=FOLDER)
    assert float(done.stdout) < 0.3
