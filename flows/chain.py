"""The build, step by step: which work follows from which, whoever does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bevformer_lib.backends.converters import EMULATOR, EXECUTED_BY
from bevformer_lib.metrics.lost_camera import cameras_to_drop
from bevformer_lib.pipeline.builds import Build, record_build
from bevformer_lib.pipeline.calibrate import PackWork, PrevBevWork
from bevformer_lib.pipeline.check import CheckScenesWork
from bevformer_lib.pipeline.convert import EMULATION_FACTS, OPTIMISTIC, ConvertWork
from bevformer_lib.pipeline.diagnose import DiagnoseWork
from bevformer_lib.pipeline.evaluate import EvaluateWork
from bevformer_lib.pipeline.executors import Executor
from bevformer_lib.pipeline.export import GRAPH, INFERENCE_CONFIG, ExportWork
from bevformer_lib.pipeline.gates import Baseline, GatesWork, find_baseline
from bevformer_lib.pipeline.lost_camera import COMPLETE, LOST_CAMERA, WITHOUT, LostCameraWork
from bevformer_lib.pipeline.measure import METRICS, CoverageWork, MetricsWork, TensorsWork
from bevformer_lib.pipeline.ptq import PREPARED_GRAPH, PtqWork
from bevformer_lib.pipeline.record import NEEDS_RECORDING, RECORDING, RecordWork
from bevformer_lib.pipeline.record_diagnosis import RecordDiagnosisWork
from bevformer_lib.pipeline.report import OTHER_BOUND, DoneStep, ReportWork
from bevformer_lib.pipeline.runtimes import Simulator
from bevformer_lib.pipeline.work import Work
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
    """Do the steps of a build, each made from what those before put out.

    The scenes are checked, and the checkpoint becomes an ONNX graph. That float graph runs over scenes to give the
    calibration set its ``prev_bev`` states. Weights are changed so that 8 bits lose less, and the converter makes the
    candidate, the compiled model. Float model and candidate run over every scene, each fed its own ``prev_bev``; their
    boxes and tensors are compared and scored, the gates judge the scores, and the report tells all of it.

    A build that fails its gates is recorded all the same, with everything that speaks against it; see
    :func:`bevformer_lib.pipeline.gates.require_gates`.

    Raises:
        BevformerError: a step failed; those before it are kept.
    """
    chain = _Chain(request, inputs, executor)
    chain.do(CheckScenesWork(scenes=inputs.scenes, requirements=inputs.requirements))
    exported = chain.export()
    calibration = chain.calibrate(exported[GRAPH])
    prepared = chain.prepare(exported[GRAPH], calibration)
    candidate, converted = chain.convert(prepared.get(PREPARED_GRAPH, exported[GRAPH]), calibration)
    evaluations = chain.evaluate(exported, candidate)
    measured = chain.measure(exported, candidate, calibration, evaluations)
    measured |= chain.evaluate_other_bound(exported, converted)
    measured |= chain.drop_cameras(exported, candidate, evaluations)
    measured |= chain.judge(evaluations, measured, find_baseline(store, chain.identities))
    reported = chain.report(exported[INFERENCE_CONFIG], evaluations, measured)
    archives = {f"calibration/{name}": artifact for name, artifact in calibration.items()}
    outputs = {**exported, **prepared, **converted, **reported, **measured, **archives}
    return BuildResult(record_build(store, inputs.model.name, chain.steps, outputs), tuple(chain.steps))


class _Chain:
    """The parts of a build, and what became of their steps so far.

    What a part returns are artifacts in the store, by file name.
    """

    def __init__(self, request: BuildRequest, inputs: BuildInputs, executor: Executor) -> None:
        self.steps: list[StepResult] = []
        self._request, self._inputs, self._executor = request, inputs, executor
        self._runtime = request.runtime or EXECUTED_BY[request.converter][0]
        pulsar2 = request.pulsar2
        executable = None if pulsar2.executable is None else str(pulsar2.executable)
        self._simulator = Simulator(image=pulsar2.image, executable=executable)
        self._recorded: dict[str | None, dict[str, Artifact]] = {}  # by the camera that is black

    @property
    def identities(self) -> list[str]:
        """Of the records of the steps so far."""
        return [step.record.identity for step in self.steps]

    def do(self, work: Work) -> Mapping[str, Artifact]:
        """Have a step done; return its outputs."""
        self.steps.append(self._executor.do(work))
        return self.steps[-1].record.outputs

    def do_each(self, work: Mapping[str, Work]) -> dict[str, Mapping[str, Artifact]]:
        """Have steps done that don't need each other; return the outputs of each, by scene as they were given."""
        results = self._executor.do_all(list(work.values()))
        self.steps += results
        return {scene: result.record.outputs for scene, result in zip(work, results, strict=True)}

    def export(self) -> Mapping[str, Artifact]:
        """Trace the model with the checkpoint; return the graph, the raw graph and the inference config."""
        request = self._request
        return self.do(
            ExportWork(
                model=self._inputs.model,
                checkpoint=self._inputs.checkpoint,
                target=request.target,
                spatial=request.spatial,
                cameras_per_query=request.cameras_per_query,
                waive=request.waive,
                geometry=request.geometry,
                input_dtype=request.input_dtype,
            )
        )

    def calibrate(self, graph: Artifact) -> Mapping[str, Artifact]:
        """Run scenes as far as their ``prev_bev`` is needed; return the archives and their manifest."""
        plan, requirements = self._inputs.plan, self._inputs.requirements
        chosen = plan.positions()
        scenes = tuple(scene for scene in self._inputs.scenes if scene.name in chosen)
        states = self.do_each(
            {
                scene.name: PrevBevWork(
                    scene=scene,
                    positions=chosen[scene.name],
                    graph=graph,
                    requirements=requirements,
                    device=self._request.device,
                )
                for scene in scenes
            }
        )
        return self.do(PackWork(plan=plan, scenes=scenes, states=states, graph=graph, requirements=requirements))

    def prepare(self, graph: Artifact, calibration: Mapping[str, Artifact]) -> Mapping[str, Artifact]:
        """Return the graph whose weights lose less in 8 bits; empty where the request wants none."""
        passes = self._request.pulsar2.ptq_passes
        if self._inputs.pulsar2 is None or not passes:
            return {}
        return self.do(PtqWork(graph=graph, calibration=calibration, passes=passes, device=self._request.device))

    def convert(self, graph: Artifact, calibration: Mapping[str, Artifact]) -> tuple[Artifact, Mapping[str, Artifact]]:
        """Return the compiled model, and everything that the converter put out."""
        work = ConvertWork(
            graph=graph,
            calibration=calibration,
            converter=self._request.converter,
            device=self._request.device,
            pulsar2=self._inputs.pulsar2,
        )
        outputs = self.do(work)
        return outputs[work.output], outputs

    def record(self, graph: Artifact, black_camera: str | None) -> Mapping[str, Artifact]:
        """Run the float model over every scene, once for all candidates; return its outputs, by scene.

        Args:
            graph: the float model.
            black_camera: name of the camera that shows nothing; ``None``: all do.
        """
        if black_camera not in self._recorded:
            runs = self.do_each(
                {
                    scene.name: RecordWork(
                        scene=scene,
                        reference=graph,
                        requirements=self._inputs.requirements,
                        device=self._request.device,
                        black_camera=black_camera,
                    )
                    for scene in self._inputs.scenes
                }
            )
            self._recorded[black_camera] = {name: outputs[RECORDING] for name, outputs in runs.items()}
        return self._recorded[black_camera]

    def evaluate(
        self,
        exported: Mapping[str, Artifact],
        candidate: Artifact,
        bound: str | None = None,
        black_camera: str | None = None,
    ) -> Mapping[str, Mapping[str, Artifact]]:
        """Run both models over every scene; return their comparison, by scene.

        Args:
            exported: the float model and its inference config.
            candidate: the compiled model.
            bound: name of the emulation's bound that the candidate is, where it is not the one that is judged.
            black_camera: name of the camera that shows nothing; ``None``: all do.
        """
        recordings = self.record(exported[GRAPH], black_camera)
        return self.do_each(
            {
                scene.name: EvaluateWork(
                    scene=scene,
                    reference=exported[GRAPH],
                    candidate=candidate,
                    inference_config=exported[INFERENCE_CONFIG],
                    requirements=self._inputs.requirements,
                    runtime=self._runtime,
                    device=self._request.device,
                    score_threshold=self._request.score_threshold,
                    recording=recordings[scene.name],
                    simulator=self._simulator,
                    npu=self._request.npu,
                    bound=bound,
                    black_camera=black_camera,
                )
                for scene in self._inputs.scenes
            }
        )

    def measure(
        self,
        exported: Mapping[str, Artifact],
        candidate: Artifact,
        calibration: Mapping[str, Artifact],
        evaluations: Mapping[str, Mapping[str, Artifact]],
    ) -> dict[str, Artifact]:
        """Return what speaks for and against the compiled model: metrics, coverage, diagnosis, tensors inside."""
        scenes, requirements, device = self._inputs.scenes, self._inputs.requirements, self._request.device
        graph, recording = exported[GRAPH], None
        if self._runtime in NEEDS_RECORDING:
            work = RecordDiagnosisWork(scenes=scenes, reference=graph, requirements=requirements, device=device)
            recording = self.do(work)[RECORDING]
        return {
            **self.do(MetricsWork(scenes=scenes, evaluations=evaluations)),
            **self.do(CoverageWork(scenes=scenes, plan=self._inputs.plan, requirements=requirements)),
            **self.do(
                DiagnoseWork(
                    scenes=scenes,
                    reference=graph,
                    candidate=candidate,
                    calibration=calibration,
                    requirements=requirements,
                    runtime=self._runtime,
                    device=device,
                    recording=recording,
                    simulator=self._simulator,
                    npu=self._request.npu,
                    inference_config=exported[INFERENCE_CONFIG],
                )
            ),
            **self.do(
                TensorsWork(
                    scene=scenes[0],
                    reference=graph,
                    candidate=candidate,
                    requirements=requirements,
                    runtime=self._runtime,
                    device=device,
                )
            ),
        }

    def evaluate_other_bound(
        self, exported: Mapping[str, Artifact], converted: Mapping[str, Artifact]
    ) -> dict[str, Artifact]:
        """Evaluate the optimistic bound of an emulation; return its metrics and the facts of the emulation.

        An emulator does not know which movement operators the NPU rounds: the candidate has all of them rounded, this
        bound none. Empty where nothing was emulated.
        """
        if OPTIMISTIC not in converted:
            return {}
        evaluations = self.evaluate(exported, converted[OPTIMISTIC], OTHER_BOUND)
        metrics = self.do(MetricsWork(scenes=self._inputs.scenes, evaluations=evaluations, bound=OTHER_BOUND))
        return {EMULATION_FACTS: converted[EMULATION_FACTS], f"{OTHER_BOUND}/{METRICS}": metrics[METRICS]}

    def drop_cameras(
        self,
        exported: Mapping[str, Artifact],
        candidate: Artifact,
        complete: Mapping[str, Mapping[str, Artifact]],
    ) -> dict[str, Artifact]:
        """Return what both models find without each camera that the request drops; empty where it drops none."""
        dropped: dict[str, Artifact] = {}
        for camera in cameras_to_drop(self._request.drop_camera, self._inputs.requirements.num_cams):
            work = LostCameraWork(
                camera=camera,
                scenes=self._inputs.scenes,
                evaluations={
                    WITHOUT: self.evaluate(exported, candidate, black_camera=camera),
                    COMPLETE: complete,
                },
                image_hw=self._inputs.requirements.image_hw,
            )
            dropped[f"without_{camera}/{LOST_CAMERA}"] = self.do(work)[LOST_CAMERA]
        return dropped

    def judge(
        self,
        evaluations: Mapping[str, Mapping[str, Artifact]],
        measured: Mapping[str, Artifact],
        baseline: Baseline | None,
    ) -> Mapping[str, Artifact]:
        """Return the verdict of the gates."""
        return self.do(
            GatesWork(
                model=self._inputs.model.name,
                scenes=self._inputs.scenes,
                evaluations=evaluations,
                measured=measured,
                policy=self._inputs.policy,
                baseline=baseline,
            )
        )

    def report(
        self, config: Artifact, evaluations: Mapping[str, Mapping[str, Artifact]], measured: Mapping[str, Artifact]
    ) -> Mapping[str, Artifact]:
        """Return the report and its summary."""
        converter = self._request.converter
        return self.do(
            ReportWork(
                model=self._inputs.model,
                steps=tuple(DoneStep.of(step) for step in self.steps),
                evaluations=evaluations,
                scenes=self._inputs.scenes,
                inference_config=config,
                requirements=self._inputs.requirements,
                candidate_name="emulated model" if converter == EMULATOR else f"{converter} INT8 model",
                measured=measured,
            )
        )
