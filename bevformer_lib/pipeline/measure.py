"""What a build measures beside the comparison of outputs, as steps: detection metrics, coverage, tensors inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bevformer_lib.backends.runtimes import ONNXRUNTIME
from bevformer_lib.calibration.coverage import CalibrationCoverage, coverage_of
from bevformer_lib.calibration.plan import CalibrationPlan
from bevformer_lib.errors import ConfigError
from bevformer_lib.evaluate.tensors import TensorSummary, compare_tensors, summarize_tensors
from bevformer_lib.export.intermediates_runtime import open_with_intermediates
from bevformer_lib.files import write_json
from bevformer_lib.metrics.both_models import score_both
from bevformer_lib.metrics.metric_types import DetectionMetrics
from bevformer_lib.pipeline.evaluate import EVALUATION, read_evaluation
from bevformer_lib.pipeline.inputs import (
    IMAGE_PACKAGES,
    SceneSource,
    open_artifact,
    parsed,
    read_artifact,
    read_json_artifact,
    read_scene_metas,
)
from bevformer_lib.pipeline.runtimes import unload_models
from bevformer_lib.pipeline.work import NOT_IN_KEY, PART, Work
from bevformer_lib.plain_data import to_plain
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Scene
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact

METRICS: Final = "metrics.json"
COVERAGE: Final = "coverage.json"
TENSORS: Final = "tensors.json"
_TENSOR_FRAMES: Final = 4
"""Enough to see where in the network precision goes; every frame of every scene is compared at the outputs."""


@dataclass(frozen=True)
class MetricsWork(Work, step="metrics"):
    """Scores both models' boxes by nuScenes' metric; against the float model's boxes where nothing is annotated.

    Attributes:
        evaluations: what ``EvaluateWork`` put out, by scene.
        bound: name of the bound that the candidate is, where it is not the one that is judged.
    """

    scenes: tuple[SceneSource, ...]
    evaluations: Mapping[str, Mapping[str, Artifact]]
    bound: str | None = field(default=None, metadata=PART)

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Score; where that can't be done, put out why.

        Raises:
            BevformerError: detections don't belong to the scenes.
            SceneError: a scene can't be read.
        """
        evaluations = [read_evaluation(store, self.evaluations[scene.name][EVALUATION]) for scene in self.scenes]
        try:
            reference, candidate = score_both(read_scene_metas(self.scenes), evaluations, on_progress=on_progress)
        except ConfigError as error:
            write_json(folder / METRICS, {"unavailable": str(error)})
            return {"unavailable": str(error)}
        write_json(folder / METRICS, {"reference": reference.to_dict(), "candidate": candidate.to_dict()})
        return {
            "truth": candidate.truth,
            "mAP": {"reference": reference.mean_ap, "candidate": candidate.mean_ap},
            "NDS": {"reference": reference.nds, "candidate": candidate.nds},
        }


@dataclass(frozen=True)
class CoverageWork(Work, step="coverage", packages=IMAGE_PACKAGES):
    """Compares the frames of the calibration set with all frames."""

    scenes: tuple[SceneSource, ...]
    plan: CalibrationPlan
    requirements: SceneRequirements

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Look at every frame.

        Raises:
            SceneError: a scene can't be read.
        """
        scenes = [scene.read(self.requirements) for scene in self.scenes]
        samples = [(sample.scene, sample.position) for sample in self.plan.samples]
        coverage = coverage_of(scenes, samples, on_progress=on_progress)
        write_json(folder / COVERAGE, coverage.to_dict())
        return {"share_within": {one.name: one.share_within for one in coverage.quantities}}


@dataclass(frozen=True)
class TensorsWork(Work, step="tensors", pool="gpu", packages=("onnx", "onnxruntime", *IMAGE_PACKAGES)):
    """Compares named tensors inside both models over the first frames of a scene.

    Attributes:
        runtime: what executes the candidate; only ONNX Runtime lets us look inside.
    """

    scene: SceneSource
    reference: Artifact
    candidate: Artifact
    requirements: SceneRequirements
    runtime: str
    device: str = field(metadata=NOT_IN_KEY)

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Run both models.

        Raises:
            RuntimeUnavailableError: a model can't be run here.
            SceneError: the scene can't be read.
        """
        if self.runtime != ONNXRUNTIME:
            write_json(folder / TENSORS, {"tensors": []})
            return {"unavailable": f"{self.runtime} gives a model's outputs only"}
        unload_models()
        scene = self.scene.read(self.requirements)
        compared = compare_tensors(
            Scene(scene.name, scene.frames[:_TENSOR_FRAMES]),
            reference=open_with_intermediates(open_artifact(store, self.reference), device=self.device),
            candidate=open_with_intermediates(open_artifact(store, self.candidate), device=self.device),
            preprocessor=Preprocessor(self.requirements.image_hw, self.requirements.img_norm),
            on_progress=lambda name, done, total: on_progress(f"tensors of {name}", done, total),
        )
        summaries = summarize_tensors([compared])
        write_json(folder / TENSORS, {"tensors": [to_plain(summary) for summary in summaries]})
        return {"scene": scene.name, "frames": len(compared.frames), "tensors": len(summaries)}


def read_metrics(store: Store, artifact: Artifact) -> tuple[DetectionMetrics, DetectionMetrics] | str:
    """Return a build's metrics of the reference and the candidate, or why there are none."""
    content = read_json_artifact(store, artifact)
    if "unavailable" in content:
        return str(content["unavailable"])
    reference, candidate = (
        parsed(artifact, DetectionMetrics, content.get(side)) for side in ("reference", "candidate")
    )
    return reference, candidate


def read_coverage(store: Store, artifact: Artifact) -> CalibrationCoverage:
    """Return a build's coverage."""
    return read_artifact(store, artifact, CalibrationCoverage)


def read_tensors(store: Store, artifact: Artifact) -> tuple[TensorSummary, ...]:
    """Return a build's tensors; none where the runtime does not let us look inside."""
    return parsed(artifact, tuple[TensorSummary, ...], read_json_artifact(store, artifact).get("tensors"))
