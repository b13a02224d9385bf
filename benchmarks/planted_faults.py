"""What the gates say of faults that are planted on purpose, in a finished build of a model that sees.

    make planted-faults

which is ``python -m benchmarks.planted_faults BUILD SCENES`` on the demo's newest build.

A fault is a change of what a model is fed. Planted on the compiled model alone it is what goes wrong in a deployment,
while the float model and the annotations stay right. Planted on both it is what is wrong with the scenes or the config:
then both models agree, and only annotations can tell. The build's own models run over the scenes, and a policy judges.
Prints Markdown tables; exits with 1 if the healthy build fails, or a fault of the compiled model is not named.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.faults import HEALTHY, Fault, FaultyRuntime, planted_faults
from bevformer_lib.backends.runtimes import ONNXRUNTIME, open_runtime
from bevformer_lib.calibration.coverage import CalibrationCoverage
from bevformer_lib.config.inference_config import read_inference_config
from bevformer_lib.config.load import load_model_config
from bevformer_lib.evaluate.diagnosis import CALIBRATION, Diagnosis, try_frame
from bevformer_lib.evaluate.scene import evaluate_scene
from bevformer_lib.gates.judge import Verdict, judge
from bevformer_lib.gates.metrics import BuildMetrics, Metric, gather
from bevformer_lib.gates.policy import DEMO_POLICY, Policy, read_policy
from bevformer_lib.metrics.detection_metrics import score_scenes
from bevformer_lib.names import OUTPUT_NAMES
from bevformer_lib.pipeline.diagnosed_frame import most_moving_frame
from bevformer_lib.plain_data import from_plain
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.contract import check_model
from bevformer_lib.runtime.host_geometry import with_host_geometry
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Scene
from bevformer_lib.synthetic_scenes.make import scene_cameras

_ANOTHER_CAR: Final = 424242
"""Seed of the car whose camera calibration is swapped in; no scene of the demo has it."""


class RememberingRuntime:
    """A model that runs once on every frame, however many faults are compared with it."""

    def __init__(self, runtime: Runtime) -> None:
        self.inputs, self.outputs, self.metadata = runtime.inputs, runtime.outputs, runtime.metadata
        self._runtime = runtime
        self._known: dict[bytes, dict[str, NDArray[Any]]] = {}

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the model, unless it was fed the same before."""
        digest = hashlib.blake2b()
        for name in sorted(feed):
            digest.update(feed[name].tobytes())
        key = digest.digest()
        if key not in self._known:
            self._known[key] = self._runtime.run(feed)
        return self._known[key]


@dataclass(frozen=True)
class Measured:
    """What a fault does.

    Attributes:
        fault: that was planted.
        metrics: by name.
        verdict: of the gates.
    """

    fault: Fault
    metrics: Mapping[str, Metric]
    verdict: Verdict

    @property
    def named(self) -> bool:
        """Whether the first gate that fails is the one that names the cause, and says it."""
        first = next(iter(self.verdict.failed), None)
        return first is not None and first.name == self.fault.diagnosis and self.fault.words in first.reason

    def value(self, name: str, *, reference: bool = False) -> float:
        """Return a metric of the compiled model, or of the float one."""
        found = self.metrics[name].reference if reference else self.metrics[name].value
        return float("nan") if found is None else found


class FaultyBuild:
    """A build's models and scenes, measured with one fault after the other."""

    def __init__(self, build: Path, scenes: Path, *, max_frames: int | None = None) -> None:
        """Load a build.

        Args:
            build: its folder.
            scenes: folder of scenes with annotations.
            max_frames: of every scene; ``None``: all.

        Raises:
            BevformerError: a file of the build is missing or damaged, or the scenes have defects.
        """
        self.config = read_inference_config(build / "inference_config.json")
        files = [build / "model.onnx", build / "model_int8.onnx"]
        loaded = [open_runtime(ONNXRUNTIME, file) for file in files]
        geometry = check_model(loaded[0], self.config, files[0])
        four_inputs = [with_host_geometry(runtime, self.config.host_geometry) for runtime in loaded]
        self._reference, self._candidate = RememberingRuntime(four_inputs[0]), four_inputs[1]
        self._preprocessor = Preprocessor(geometry.image_hw, self.config.img_norm)
        requirements = SceneRequirements(geometry.num_cams, geometry.image_hw, self.config.img_norm)
        self.scenes = tuple(Scene(scene.name, scene.frames[:max_frames]) for scene in read_scenes(scenes, requirements))
        self._diagnosis = from_plain(Diagnosis, _read(build / "diagnosis.json"))
        self._coverage = from_plain(CalibrationCoverage, _read(build / "coverage.json"))

    def measure(self, fault: Fault, policy: Policy, *, shared: bool = False) -> Measured:
        """Return all that gates can ask for, and what they say.

        Args:
            fault: planted on the compiled model.
            policy: its gates.
            shared: whether it is planted on the float model too.
        """
        candidate = FaultyRuntime(self._candidate, fault)
        reference = FaultyRuntime(self._reference, fault) if shared else self._reference
        evaluations = [
            evaluate_scene(
                scene, reference=reference, candidate=candidate, config=self.config, preprocessor=self._preprocessor
            )
            for scene in self.scenes
        ]
        reference_metrics, candidate_metrics = (
            score_scenes(
                self.scenes,
                {one.scene: [getattr(frame, model) for frame in one.frames] for one in evaluations},
                self.config.class_names,
            )
            for model in ("reference", "candidate")
        )
        diagnosis = self._diagnose(reference, candidate)
        metrics = gather(evaluations, (reference_metrics, candidate_metrics), self._coverage, diagnosis)
        return Measured(fault, metrics, judge(policy, BuildMetrics("", {}, metrics), None))

    def _diagnose(self, reference: Runtime, candidate: Runtime) -> Diagnosis:
        place = most_moving_frame(self.scenes)
        assert place is not None
        [scene] = [scene for scene in self.scenes if scene.name == place[0]]
        before, frame = scene.frames[place[1] - 1 : place[1] + 1]
        findings = try_frame(
            self._preprocessor.inputs(before, None),
            self._preprocessor.inputs(frame, before),
            reference=reference,
            candidate=candidate,
            img_norm=self.config.img_norm,
        )
        return Diagnosis({CALIBRATION: self._diagnosis.findings[CALIBRATION], **findings}, scene.name, frame.index)


def fault_table(measured: Sequence[Measured]) -> str:
    """Return a row per fault of the compiled model."""
    lines = [
        "| fault of the compiled model | mAP | NDS | cosine of bev_embed | classes | coords | first to fail | more |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    for one in measured:
        changes = [one.value(name) - one.value(name, reference=True) for name in ("metrics.mAP", "metrics.NDS")]
        cosines = [one.value(f"fidelity.{output}.cosine") for output in OUTPUT_NAMES]
        failed = one.verdict.failed
        first = f"`{failed[0].name}`: {failed[0].value:.2g}" if failed else "none"
        numbers = [*(f"{change:+.3f}" for change in changes), *(f"{cosine:.4f}" for cosine in cosines)]
        lines.append(f"| {one.fault.name} | {' | '.join(numbers)} | {first} | {max(0, len(failed) - 1)} |")
    return "\n".join(lines)


def shared_table(measured: Sequence[Measured]) -> str:
    """Return a row per fault that both models share."""
    lines = [
        "| fault of both models | mAP, float | compiled | NDS, float | compiled | gates that fail |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for one in measured:
        pairs = [one.value(name, reference=side) for name in ("metrics.mAP", "metrics.NDS") for side in (True, False)]
        failed = ", ".join(f"`{gate.name} {gate.rule}`" for gate in one.verdict.failed) or "none"
        lines.append(f"| {one.fault.name} | {' | '.join(f'{value:.3f}' for value in pairs)} | {failed} |")
    return "\n".join(lines)


def margin_table(healthy: Measured, faulty: Sequence[Measured]) -> str:
    """Return a row per gate that applies: what is asked, the healthy build, and the faults on either side."""
    lines = [
        "| gate | healthy | bound | nearest fault that fails it | faults that pass it |",
        "| --- | ---: | ---: | --- | ---: |",
    ]
    for number, gate in enumerate(healthy.verdict.results):
        if gate.value is None or gate.bound is None:
            continue
        others = [(one, one.verdict.results[number]) for one in faulty]
        distances = {
            one.fault.name: abs(result.value - result.bound)
            for one, result in others
            if result.passed is False and result.value is not None and result.bound is not None
        }
        nearest = min(distances, key=lambda name: distances[name], default="")
        at = next((result.value for one, result in others if one.fault.name == nearest), None)
        said = f"{nearest}: {at:.4g}" if nearest else "none"
        passed = sum(result.passed is True for _, result in others)
        lines.append(f"| `{gate.name} {gate.rule}` | {gate.value:.4g} | {gate.bound:.4g} | {said} | {passed} |")
    return "\n".join(lines)


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="folder of a finished build")
    parser.add_argument("scenes", type=Path, help="folder of scenes with annotations")
    parser.add_argument("--model", default="demo", help="preset or config file of the build")
    parser.add_argument("--policy", type=Path, default=DEMO_POLICY)
    parser.add_argument("--max-frames", type=int, help="of every scene")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    """Measure every fault, on the compiled model and on both, and print the tables."""
    arguments = parse(words)
    model = load_model_config(arguments.model)
    build = FaultyBuild(arguments.build, arguments.scenes, max_frames=arguments.max_frames)
    policy = read_policy(arguments.policy, model.class_names)
    cameras = scene_cameras(model.num_cams, model.image_scale, number=0, seed=_ANOTHER_CAR)
    faults = planted_faults(model.img_norm, np.stack([camera.lidar_to_image for camera in cameras]))
    print("measuring: none", file=sys.stderr, flush=True)
    healthy = build.measure(HEALTHY, policy)
    found: dict[bool, list[Measured]] = {False: [], True: []}
    for shared, measured in found.items():
        for fault in faults:
            print(f"measuring: {fault.name}{', both models' if shared else ''}", file=sys.stderr, flush=True)
            measured.append(build.measure(fault, policy, shared=shared))
    print(fault_table([healthy, *found[False]]), shared_table([healthy, *found[True]]), sep="\n\n")
    print(f"\n{margin_table(healthy, found[False])}")
    missed = [one.fault.name for one in found[False] if not one.named]
    if healthy.verdict.failed or missed:
        sys.exit(f"the healthy build fails {len(healthy.verdict.failed)} gates; not named: {', '.join(missed) or '-'}")


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


if __name__ == "__main__":
    main()
