"""What the gates say of faults that are planted on purpose, in a finished build of a model that sees.

    make demo
    python -m benchmarks.planted_faults demo/seen/store/builds/demo-* demo/seen/scenes

A fault is a change of what a model is fed. Planted on the compiled model alone it is what goes wrong in a deployment,
while the float model and the annotations stay right. Planted on both it is what is wrong with the scenes or the config:
then both models agree, and only annotations can tell. The build's own models run over the scenes, and a policy judges.
Prints Markdown tables.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.backends.runtimes import ONNXRUNTIME, open_runtime
from bevformer_lib.calibration.coverage import CalibrationCoverage
from bevformer_lib.config.inference_config import read_inference_config
from bevformer_lib.config.model_config import ImageNormConfig
from bevformer_lib.evaluate.diagnosis import CALIBRATION, Diagnosis, try_frame
from bevformer_lib.evaluate.scene import evaluate_scene
from bevformer_lib.gates.metrics import BuildMetrics, gather
from bevformer_lib.metrics.detection_metrics import score_scenes
from bevformer_lib.names import (
    CAMERA_ORDER,
    CAN_BUS_POSITION,
    CAN_BUS_YAW_DEG,
    INPUT_CAN_BUS,
    INPUT_IMG,
    INPUT_LIDAR2IMG,
    INPUT_PREV_BEV,
)
from bevformer_lib.pipeline.diagnosed_frame import most_moving_frame
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.contract import check_model
from bevformer_lib.runtime.host_geometry import with_host_geometry
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Scene

Feed = dict[str, NDArray[Any]]
Change = Callable[[Feed], Feed]
_CAFFE_MEAN: Final = (103.53, 116.28, 123.675)
_ANOTHER_CAR: Final = 424242
"""Seed of the car whose camera calibration is swapped in; no scene of the demo has it."""


@dataclass(frozen=True)
class Fault:
    """A fault of what a model is fed.

    Attributes:
        name: for people.
        change: returns the inputs that it changes.
        diagnosis: the metric whose gate has to name it; empty: any gate.
    """

    name: str
    change: Change
    diagnosis: str = ""


HEALTHY: Final = Fault("none", lambda _: {})


class FaultyRuntime:
    """A model that is fed with a fault."""

    def __init__(self, runtime: Runtime, fault: Fault) -> None:
        self.inputs, self.outputs, self.metadata = runtime.inputs, runtime.outputs, runtime.metadata
        self._runtime, self._fault = runtime, fault

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the model on what the fault leaves of its inputs."""
        return self._runtime.run({**feed, **self._fault.change(dict(feed))})


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
            digest.update(np.ascontiguousarray(feed[name]))
        key = digest.digest()
        if key not in self._known:
            self._known[key] = self._runtime.run(feed)
        return self._known[key]


def planted_faults(norm: ImageNormConfig, other_lidar_to_image: NDArray[np.float64]) -> tuple[Fault, ...]:
    """Return the faults.

    Args:
        norm: how the model's images are normalised.
        other_lidar_to_image: (cameras, 4, 4) of another car.
    """
    mean, std, caffe = (
        np.array(values, np.float32).reshape(1, 1, 3, 1, 1) for values in (norm.mean, norm.std, _CAFFE_MEAN)
    )
    alphabetical = [CAMERA_ORDER.index(name) for name in sorted(CAMERA_ORDER)]
    other = other_lidar_to_image[None].astype(np.float32)
    twice = np.diag([2.0, 2.0, 1.0, 1.0]).astype(np.float32)

    def images(change: Callable[[NDArray[Any]], NDArray[Any]]) -> Change:
        return lambda feed: {INPUT_IMG: np.ascontiguousarray(change(feed[INPUT_IMG]), dtype=np.float32)}

    def pixels(change: Callable[[NDArray[Any]], NDArray[Any]]) -> Change:
        return images(lambda img: change(img * std + mean))

    def black(camera: int) -> Change:
        return images(lambda img: np.where(np.arange(img.shape[1])[:, None, None, None] == camera, -mean / std, img))

    def standing(feed: Feed) -> Feed:
        can_bus = feed[INPUT_CAN_BUS].copy()
        can_bus[:, CAN_BUS_POSITION] = can_bus[:, CAN_BUS_YAW_DEG] = 0.0
        return {INPUT_CAN_BUS: can_bus}

    cameras, normalization = "diagnosis.cameras_misplaced", "diagnosis.normalization_wrong"
    return (
        Fault("cameras in alphabetical order", images(lambda img: img[:, alphabetical]), cameras),
        Fault("front left and front right exchanged", images(lambda img: img[:, [0, 2, 1, 3, 4, 5]]), cameras),
        Fault("red and blue exchanged", pixels(lambda rgb: (rgb[:, :, ::-1] - mean) / std), normalization),
        Fault("images as 0 to 1", pixels(lambda rgb: rgb / 255), normalization),
        Fault("caffe's mean, BGR, no std", pixels(lambda rgb: rgb[:, :, ::-1] - caffe), normalization),
        Fault("ego motion always 0", standing, "diagnosis.ego_motion"),
        Fault("prev_bev always 0", lambda feed: {INPUT_PREV_BEV: 0 * feed[INPUT_PREV_BEV]}, "diagnosis.prev_bev"),
        Fault("camera calibration of another car", lambda _: {INPUT_LIDAR2IMG: other}),
        Fault("calibration for images twice as large", lambda feed: {INPUT_LIDAR2IMG: twice @ feed[INPUT_LIDAR2IMG]}),
        *(Fault(f"{name} black", black(camera)) for camera, name in enumerate(CAMERA_ORDER)),
    )


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
        self._diagnosis = Diagnosis.from_dict(_read(build / "diagnosis.json"))
        content = _read(build / "coverage.json")
        self._coverage = CalibrationCoverage(**{**content, "quantities": ()})

    def measure(self, fault: Fault, *, shared: bool = False) -> BuildMetrics:
        """Return all that gates can ask for.

        Args:
            fault: planted on the compiled model.
            shared: planted on the float model too.
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
        return BuildMetrics("", {}, metrics)

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


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
