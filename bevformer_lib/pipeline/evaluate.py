"""The comparison of the compiled model with the float one, a step per scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bevformer_lib.config.inference_config import read_inference_config
from bevformer_lib.detections.types import SceneEvaluation
from bevformer_lib.evaluate.scene import evaluate_scene
from bevformer_lib.evaluate.summary import summarize
from bevformer_lib.files import write_json
from bevformer_lib.pipeline.inputs import IMAGE_PACKAGES, SceneSource, open_artifact, read_artifact
from bevformer_lib.pipeline.runtimes import (
    FOUND_SIMULATOR,
    Executable,
    Simulator,
    pool_of,
    runtime_modules,
)
from bevformer_lib.pipeline.work import NOT_IN_KEY, PART, Work
from bevformer_lib.plain_data import to_plain
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.runtime.contract import check_model
from bevformer_lib.runtime.recorded import RecordedRuntime
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact

EVALUATION: Final = "evaluation.json"


@dataclass(frozen=True)
class EvaluateWork(Work, step="evaluate", packages=("onnxruntime", *IMAGE_PACKAGES)):
    """Runs both models over a scene, each with its own ``prev_bev``, and compares them frame by frame.

    Attributes:
        reference: the float model.
        candidate: the compiled model.
        score_threshold: boxes at or below are dropped; ``None``: as the inference config says.
        recording: what ``RecordWork`` put out for the scene, which stands for the float model.
        simulator: where the runtime is Pulsar2's simulator.
        bound: name of the bound that the candidate is, where it is not the one that is judged.
        black_camera: name of the camera that shows nothing; ``None``: all do.
        npu: where the runtime is AXEngine: ``board``, ``card`` or ``card:N``; ``None``: its own choice.
    """

    scene: SceneSource = field(metadata=PART)
    reference: Artifact
    candidate: Artifact
    inference_config: Artifact
    requirements: SceneRequirements
    runtime: str
    device: str = field(metadata=NOT_IN_KEY)
    score_threshold: float | None
    recording: Artifact
    simulator: Simulator = FOUND_SIMULATOR
    bound: str | None = field(default=None, metadata=PART)
    black_camera: str | None = field(default=None, metadata=PART)
    npu: str | None = field(default=None, metadata=NOT_IN_KEY)

    @property
    def modules(self) -> tuple[str, ...]:
        """Of the runtimes."""
        return runtime_modules(self.runtime, self.recording)

    @property
    def pool(self) -> str:
        """Where the candidate can be run."""
        return pool_of(self.runtime)

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Evaluate the scene.

        Raises:
            ConfigError: the models are not those of the inference config.
            RuntimeUnavailableError: a model can't be run here.
            SceneError: the scene can't be read.
        """
        config = read_inference_config(open_artifact(store, self.inference_config))
        reference = RecordedRuntime(open_artifact(store, self.recording))
        candidate = Executable(self.candidate, self.runtime, self.device, self.simulator, self.npu).open(store)
        for runtime, artifact in ((reference, self.reference), (candidate, self.candidate)):
            check_model(runtime, config, Path(artifact.name))
        evaluation = evaluate_scene(
            self.scene.read(self.requirements),
            reference=reference,
            candidate=candidate,
            config=config,
            preprocessor=Preprocessor(self.requirements.image_hw, self.requirements.img_norm).without(
                self.black_camera
            ),
            score_threshold=self.score_threshold,
            on_progress=lambda scene, done, total: on_progress(f"evaluate {scene}", done, total),
        )
        write_json(folder / EVALUATION, to_plain(evaluation))
        summary = summarize([evaluation])
        return {
            "frames": summary.frames,
            "worst_cosine": {name: output.worst_cosine for name, output in summary.outputs.items()},
            "device": self.device,
        }


def read_evaluation(store: Store, artifact: Artifact) -> SceneEvaluation:
    """Return a stored evaluation."""
    return read_artifact(store, artifact, SceneEvaluation)
