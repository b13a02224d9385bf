"""The build, step by step: which work follows from which, whoever does it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bevformer_lib.calibration.plan import plan_samples
from bevformer_lib.config.load import load_model_config
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.convert.open import PULSAR2
from bevformer_lib.gates.policy import DEFAULT_POLICY, Policy, read_policy
from bevformer_lib.pipeline.builds import Build, record_build
from bevformer_lib.pipeline.calibrate import HistoriesWork, PackWork
from bevformer_lib.pipeline.check import CheckScenesWork
from bevformer_lib.pipeline.convert import ConvertWork, Pulsar2Settings
from bevformer_lib.pipeline.diagnose import DiagnoseWork
from bevformer_lib.pipeline.evaluate import EVALUATION, EvaluateWork
from bevformer_lib.pipeline.export import GRAPH, INFERENCE_CONFIG, RAW_GRAPH, ExportWork
from bevformer_lib.pipeline.gates import GatesWork, find_baseline
from bevformer_lib.pipeline.inputs import SceneSource, checkpoint_input, file_input, scene_inputs
from bevformer_lib.pipeline.measure import CoverageWork, MetricsWork, TensorsWork
from bevformer_lib.pipeline.record import NEEDS_RECORDING, RECORDING, RecordTrialsWork, RecordWork
from bevformer_lib.pipeline.report import REPORT, SUMMARY, DoneStep, ReportWork
from bevformer_lib.pipeline.runtimes import Simulator
from bevformer_lib.pipeline.work import Executor, Work
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.store.base import Store
from bevformer_lib.store.digests import DigestCache
from bevformer_lib.store.run import StepResult
from bevformer_lib.store.step import Artifact
from flows.request import BuildRequest


@dataclass(frozen=True)
class BuildInputs:
    """What a request names, read and known by content."""

    model: ModelConfig
    checkpoint: Artifact
    scenes: tuple[SceneSource, ...]
    requirements: SceneRequirements
    policy: Policy
    pulsar2: Pulsar2Settings | None


@dataclass(frozen=True)
class BuildResult:
    """A finished build and what became of each of its steps."""

    build: Build
    steps: tuple[StepResult, ...]


def read_inputs(
    request: BuildRequest, digests: DigestCache, on_progress: ProgressCallback = no_progress
) -> BuildInputs:
    """Read what a request names.

    Raises:
        BevformerError: the config, the checkpoint or the scenes can't be read; everything that is wrong with the
            scenes is said at once.
    """
    model = load_model_config(request.model)
    requirements = SceneRequirements.of_model(model)
    checkpoint = checkpoint_input(request.checkpoint, digests)
    scenes = scene_inputs(
        request.scenes,
        digests,
        requirements,
        start_scene=request.start_scene,
        end_scene=request.end_scene,
        on_progress=on_progress,
    )
    plan_samples({scene.name: scene.num_frames for scene in scenes}, request.num_samples, request.seed)
    policy = read_policy(Path(request.policy) if request.policy else DEFAULT_POLICY, model.class_names)
    return BuildInputs(model, checkpoint, scenes, requirements, policy, _pulsar2(request, digests))


def run_chain(request: BuildRequest, inputs: BuildInputs, store: Store, executor: Executor) -> BuildResult:
    """Check the scenes, export, calibrate, convert, evaluate, measure, judge, report.

    A build that fails its gates is recorded all the same, with everything that speaks against it; see
    :func:`bevformer_lib.pipeline.gates.require_gates`.

    Raises:
        BevformerError: a step failed; those before it are kept.
    """
    steps: list[StepResult] = []

    def do(*work: Work) -> list[StepResult]:
        results = executor.do_all(work) if len(work) > 1 else [executor.do(work[0])]
        steps.extend(results)
        return results

    model, scenes, needs = inputs.model, {scene.name: scene for scene in inputs.scenes}, inputs.requirements
    do(CheckScenesWork(inputs.scenes, needs))

    [export] = do(ExportWork(model, inputs.checkpoint, request.target))
    graph, config = export.record.output(GRAPH), export.record.output(INFERENCE_CONFIG)

    frames = {scene.name: scene.num_frames for scene in inputs.scenes}
    plan = plan_samples(frames, request.num_samples, request.seed)
    chosen = plan.positions()
    run = [HistoriesWork(scenes[name], chosen[name], graph, needs, request.device) for name in chosen]
    histories = {name: done.record.outputs for name, done in zip(chosen, do(*run), strict=True)}
    [calibration] = do(PackWork(plan, {name: scenes[name] for name in chosen}, histories, graph, needs))

    archives = calibration.record.outputs
    convert = ConvertWork(graph, archives, request.converter, request.device, request.target, inputs.pulsar2)
    [conversion] = do(convert)
    quantized, runtime = conversion.record.output(convert.output), request.runtime or request.converter

    recorded: dict[str, Artifact] = {}
    trials = None
    if runtime in NEEDS_RECORDING:
        record = [RecordWork(scene, graph, needs, request.device) for scene in inputs.scenes]
        recorded = {name: done.record.output(RECORDING) for name, done in zip(scenes, do(*record), strict=True)}
        trials = do(RecordTrialsWork(inputs.scenes, graph, needs, request.device))[0].record.output(RECORDING)

    decode = (runtime, request.device, request.score_threshold)
    simulator = Simulator(request.pulsar2.image, request.pulsar2.executable)
    compare = [
        EvaluateWork(scene, graph, quantized, config, needs, *decode, recorded.get(scene.name), simulator)
        for scene in inputs.scenes
    ]
    evaluations = {name: done.record.output(EVALUATION) for name, done in zip(scenes, do(*compare), strict=True)}

    measured: dict[str, Artifact] = {}
    for work in (
        MetricsWork(inputs.scenes, evaluations),
        CoverageWork(inputs.scenes, plan, needs),
        DiagnoseWork(inputs.scenes, graph, quantized, archives, needs, runtime, request.device, trials, simulator),
        TensorsWork(inputs.scenes[0], graph, quantized, needs, runtime, request.device),
    ):
        measured |= do(work)[0].record.outputs
    baseline = find_baseline(store, [result.record.identity for result in steps])
    [gates] = do(GatesWork(model.name, inputs.scenes, evaluations, measured, inputs.policy, baseline))
    measured |= gates.record.outputs

    done, name = tuple(DoneStep.of(result) for result in steps), f"{request.converter} INT8 model"
    [report] = do(ReportWork(model, done, evaluations, inputs.scenes, config, needs, name, measured))

    outputs = {name: export.record.output(name) for name in (GRAPH, RAW_GRAPH, INFERENCE_CONFIG)}
    outputs |= {**conversion.record.outputs, **{name: report.record.output(name) for name in (REPORT, SUMMARY)}}
    outputs |= measured
    outputs |= {f"calibration/{name}": artifact for name, artifact in calibration.record.outputs.items()}
    return BuildResult(record_build(store, model.name, steps, outputs), tuple(steps))


def _pulsar2(request: BuildRequest, digests: DigestCache) -> Pulsar2Settings | None:
    if request.converter != PULSAR2:
        return None
    asked = request.pulsar2
    minutes = asked.time_limit_minutes
    return Pulsar2Settings(
        recipe=asked.recipe,
        npu_mode=asked.npu_mode,
        overrides=None if asked.overrides is None else file_input(asked.overrides, digests),
        image=asked.image,
        executable=asked.executable,
        time_limit_seconds=None if minutes is None else minutes * 60.0,
        memory_limit_gb=asked.memory_limit_gb,
    )
