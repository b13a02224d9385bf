"""The build, step by step: which work follows from which, whoever does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bevformer_lib.backends.converters import EMULATOR, EXECUTED_BY
from bevformer_lib.pipeline.builds import Build, record_build
from bevformer_lib.pipeline.calibrate import PackWork, PrevBevWork
from bevformer_lib.pipeline.check import CheckScenesWork
from bevformer_lib.pipeline.convert import EMULATION_FACTS, OPTIMISTIC, ConvertWork
from bevformer_lib.pipeline.diagnose import DiagnoseWork
from bevformer_lib.pipeline.evaluate import EVALUATION, EvaluateWork
from bevformer_lib.pipeline.export import GRAPH, INFERENCE_CONFIG, ExportWork
from bevformer_lib.pipeline.gates import GatesWork, find_baseline
from bevformer_lib.pipeline.measure import METRICS, CoverageWork, MetricsWork, TensorsWork
from bevformer_lib.pipeline.record import NEEDS_RECORDING, RECORDING, RecordTrialsWork, RecordWork
from bevformer_lib.pipeline.report import OTHER_BOUND, DoneStep, ReportWork
from bevformer_lib.pipeline.runtimes import Simulator
from bevformer_lib.pipeline.work import Executor, Work
from bevformer_lib.store.base import Store
from bevformer_lib.store.run import StepResult
from bevformer_lib.store.step import Artifact
from flows.inputs import BuildInputs
from flows.request import BuildRequest


@dataclass(frozen=True)
class BuildResult:
    """A finished build and what became of each of its steps."""

    build: Build
    steps: tuple[StepResult, ...]


def run_chain(request: BuildRequest, inputs: BuildInputs, store: Store, executor: Executor) -> BuildResult:
    """Check the scenes, export, calibrate, convert, record, evaluate, measure, judge, report.

    A build that fails its gates is recorded all the same, with everything that speaks against it; see
    :func:`bevformer_lib.pipeline.gates.require_gates`.

    Raises:
        BevformerError: a step failed; those before it are kept.
    """
    chain = _Chain(request, inputs, store, executor)
    chain.do(CheckScenesWork(inputs.scenes, inputs.requirements))
    exported = chain.export()
    archives = chain.calibrate(exported[GRAPH])
    compiled, converted = chain.convert(exported[GRAPH], archives)
    recordings = chain.record(exported[GRAPH])
    evaluations = chain.evaluate(exported, compiled, recordings)
    measured = chain.measure(exported, compiled, archives, evaluations)
    measured |= chain.bracket(exported, converted, recordings)
    measured |= chain.judge(evaluations, measured)
    reported = chain.report(exported[INFERENCE_CONFIG], evaluations, measured)
    calibration = {f"calibration/{name}": artifact for name, artifact in archives.items()}
    outputs = {**exported, **converted, **reported, **measured, **calibration}
    return BuildResult(record_build(store, inputs.model.name, chain.steps, outputs), tuple(chain.steps))


class _Chain:
    """The parts of a build, and what became of their steps so far."""

    def __init__(self, request: BuildRequest, inputs: BuildInputs, store: Store, executor: Executor) -> None:
        self.steps: list[StepResult] = []
        self._request, self._inputs, self._store, self._executor = request, inputs, store, executor
        self._runtime = request.runtime or EXECUTED_BY[request.converter][0]
        self._simulator = Simulator(request.pulsar2.image, request.pulsar2.executable)

    def do(self, *work: Work) -> list[Mapping[str, Artifact]]:
        """Do work that does not need each other; return the outputs of each."""
        results = self._executor.do_all(work) if len(work) > 1 else [self._executor.do(work[0])]
        self.steps.extend(results)
        return [result.record.outputs for result in results]

    def export(self) -> Mapping[str, Artifact]:
        """Return the graph, the raw graph and the inference config."""
        request = self._request
        form = (request.target, request.spatial, request.cameras_per_query, request.waive, request.geometry)
        [outputs] = self.do(ExportWork(self._inputs.model, self._inputs.checkpoint, *form))
        return outputs

    def calibrate(self, graph: Artifact) -> Mapping[str, Artifact]:
        """Return the archives and their manifest."""
        needs, plan, device = self._inputs.requirements, self._inputs.plan, self._request.device
        chosen = plan.positions()
        scenes = {scene.name: scene for scene in self._inputs.scenes if scene.name in chosen}
        run = [PrevBevWork(scenes[name], positions, graph, needs, device) for name, positions in chosen.items()]
        histories = dict(zip(chosen, self.do(*run), strict=True))
        [outputs] = self.do(PackWork(plan, scenes, histories, graph, needs))
        return outputs

    def convert(self, graph: Artifact, archives: Mapping[str, Artifact]) -> tuple[Artifact, Mapping[str, Artifact]]:
        """Return the compiled model, and everything that the converter put out."""
        request = self._request
        work = ConvertWork(graph, archives, request.converter, request.device, request.target, self._inputs.pulsar2)
        [outputs] = self.do(work)
        return outputs[work.output], outputs

    def record(self, graph: Artifact) -> dict[str, Artifact]:
        """Return what the float model gives, by scene: every candidate that is made from it is compared with that."""
        inputs, device = self._inputs, self._request.device
        runs = self.do(*(RecordWork(scene, graph, inputs.requirements, device) for scene in inputs.scenes))
        return {scene.name: run[RECORDING] for scene, run in zip(inputs.scenes, runs, strict=True)}

    def evaluate(
        self,
        exported: Mapping[str, Artifact],
        compiled: Artifact,
        recordings: Mapping[str, Artifact],
        bound: str | None = None,
    ) -> dict[str, Artifact]:
        """Return the comparison of both models, by scene."""
        graph, config = exported[GRAPH], exported[INFERENCE_CONFIG]
        inputs = self._inputs
        decode = (self._runtime, self._request.device, self._request.score_threshold)
        compare = [
            EvaluateWork(
                scene,
                graph,
                compiled,
                config,
                inputs.requirements,
                *decode,
                recordings[scene.name],
                self._simulator,
                bound,
            )
            for scene in inputs.scenes
        ]
        return {scene.name: run[EVALUATION] for scene, run in zip(inputs.scenes, self.do(*compare), strict=True)}

    def measure(
        self,
        exported: Mapping[str, Artifact],
        compiled: Artifact,
        archives: Mapping[str, Artifact],
        evaluations: Mapping[str, Artifact],
    ) -> dict[str, Artifact]:
        """Return what speaks for and against the compiled model."""
        graph, config = exported[GRAPH], exported[INFERENCE_CONFIG]
        scenes, needs = self._inputs.scenes, self._inputs.requirements
        on = (self._runtime, self._request.device)
        trials = None
        if self._runtime in NEEDS_RECORDING:
            [recorded] = self.do(RecordTrialsWork(scenes, graph, needs, self._request.device))
            trials = recorded[RECORDING]
        measured: dict[str, Artifact] = {}
        for work in (
            MetricsWork(scenes, evaluations),
            CoverageWork(scenes, self._inputs.plan, needs),
            DiagnoseWork(scenes, graph, compiled, archives, needs, *on, trials, self._simulator, config),
            TensorsWork(scenes[0], graph, compiled, needs, *on),
        ):
            measured |= self.do(work)[0]
        return measured

    def bracket(
        self, exported: Mapping[str, Artifact], converted: Mapping[str, Artifact], recordings: Mapping[str, Artifact]
    ) -> dict[str, Artifact]:
        """Return the facts of an emulation and the metrics of its other bound; empty where nothing was emulated."""
        if OPTIMISTIC not in converted:
            return {}
        evaluations = self.evaluate(exported, converted[OPTIMISTIC], recordings, OTHER_BOUND)
        [metrics] = self.do(MetricsWork(self._inputs.scenes, evaluations, OTHER_BOUND))
        return {EMULATION_FACTS: converted[EMULATION_FACTS], f"{OTHER_BOUND}/{METRICS}": metrics[METRICS]}

    def judge(self, evaluations: Mapping[str, Artifact], measured: Mapping[str, Artifact]) -> Mapping[str, Artifact]:
        """Return the verdict of the gates."""
        inputs = self._inputs
        baseline = find_baseline(self._store, [step.record.identity for step in self.steps])
        [outputs] = self.do(GatesWork(inputs.model.name, inputs.scenes, evaluations, measured, inputs.policy, baseline))
        return outputs

    def report(
        self, config: Artifact, evaluations: Mapping[str, Artifact], measured: Mapping[str, Artifact]
    ) -> Mapping[str, Artifact]:
        """Return the report and its summary."""
        inputs, converter = self._inputs, self._request.converter
        name = "emulated model" if converter == EMULATOR else f"{converter} INT8 model"
        done = tuple(DoneStep.of(step) for step in self.steps)
        needs = inputs.requirements
        [outputs] = self.do(ReportWork(inputs.model, done, evaluations, inputs.scenes, config, needs, name, measured))
        return outputs
