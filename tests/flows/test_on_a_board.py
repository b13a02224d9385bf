"""A build whose compiled model runs on a board, where nothing can run the float model."""

from __future__ import annotations

from pathlib import Path

import pytest

from bevformer_lib.detections.types import SceneEvaluation
from bevformer_lib.pipeline.diagnose import DIAGNOSIS, DiagnoseWork, read_diagnosis
from bevformer_lib.pipeline.evaluate import EVALUATION, EvaluateWork, read_evaluation
from bevformer_lib.pipeline.executors import DirectExecutor
from bevformer_lib.pipeline.runtimes import unload_models
from bevformer_lib.pipeline.work import Work
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.store.folder import FolderStore
from bevformer_lib.store.run import StepResult
from flows.chain import BuildResult, run_chain
from flows.inputs import read_inputs
from tests.flows.conftest import make_request
from tests.standins.install import install_standin
from tests.support.board import be_a_board


class TwoMachines(DirectExecutor):
    """Does on a "board", which refuses ONNX Runtime, what is sent to the board."""

    def __init__(self, store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(store)
        self._monkeypatch = monkeypatch

    def do(self, work: Work) -> StepResult:
        if not isinstance(work, EvaluateWork | DiagnoseWork):
            return super().do(work)
        unload_models()
        with self._monkeypatch.context() as patch:
            patch.setattr(OnnxRuntime, "__init__", _no_onnx_runtime)
            return super().do(work)


def _no_onnx_runtime(*_: object, **__: object) -> None:
    raise AssertionError("a board has no ONNX Runtime")


def _build(inputs: Path, store: FolderStore, monkeypatch: pytest.MonkeyPatch, runtime: str) -> BuildResult:
    request = make_request(
        inputs,
        store.root,
        converter="pulsar2",
        runtime=runtime,
        pulsar2={"recipe": "all-u16", "executable": str(install_standin("pulsar2", store.root.parent / "bin"))},
        end_scene=1,
    )
    executor = TwoMachines(store, monkeypatch) if runtime == "axengine" else DirectExecutor(store)
    return run_chain(request, read_inputs(request, store.digests), store, executor)


@pytest.mark.slow
def test_the_board_reads_what_the_float_model_gave(
    micro_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_a_board(monkeypatch)
    store = FolderStore(tmp_path / "store")
    board = _build(micro_inputs, store, monkeypatch, "axengine")
    titles = [step.record.step.title for step in board.steps if step.ran]
    assert titles.index("record scene-0000") < titles.index("evaluate scene-0000")
    assert titles.index("record-diagnosis") < titles.index("diagnose")
    simulated = _build(micro_inputs, store, monkeypatch, "pulsar2")
    recordings = {step.record.step.title: step.ran for step in simulated.steps if step.record.step.name == "record"}
    assert recordings == {"record scene-0000": False}  # what the board was compared with

    report = store.get_object(board.build.outputs["report.html"].sha256).read_text(encoding="utf-8")
    assert "What the converter built" in report
    assert "4.2-standin" in report

    on_board, in_simulator = (_evaluation(store, build) for build in (board, simulated))
    for given, expected in zip(on_board.frames, in_simulator.frames, strict=True):
        assert given.fidelity == expected.fidelity
    found = read_diagnosis(store, board.build.outputs[DIAGNOSIS])
    assert found == read_diagnosis(store, simulated.build.outputs[DIAGNOSIS])


def _evaluation(store: FolderStore, build: BuildResult) -> SceneEvaluation:
    record = next(step.record for step in build.steps if step.record.step.name == "evaluate")
    return read_evaluation(store, record.output(EVALUATION))
