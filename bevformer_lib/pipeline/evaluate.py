"""The comparison of the compiled model with the float one, a step per scene."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bevformer_lib.config.inference_config import read_inference_config
from bevformer_lib.detections.types import SceneEvaluation
from bevformer_lib.evaluate.scene import evaluate_scene
from bevformer_lib.evaluate.summary import summarize
from bevformer_lib.files import write_json
from bevformer_lib.pipeline.inputs import IMAGE_PACKAGES, SceneSource, open_artifact
from bevformer_lib.pipeline.runtimes import FOUND_SIMULATOR, Executable, Simulator, open_float_model, runtime_modules
from bevformer_lib.pipeline.software import software
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.runtime.contract import check_model
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact, Step

EVALUATION: Final = "evaluation.json"


@dataclass(frozen=True)
class EvaluateWork:
    """Runs both models over a scene, each with its own history, and compares them frame by frame.

    Attributes:
        scene: the scene.
        reference: the float model.
        candidate: the compiled model.
        inference_config: how to feed and decode both.
        requirements: what the models ask of scenes.
        runtime: what executes the candidate.
        device: where; not part of the step.
        score_threshold: boxes at or below are dropped; ``None``: as the inference config says.
        recording: what ``RecordWork`` put out for the scene, which then stands for the float model.
        simulator: where the runtime is Pulsar2's simulator; its image is part of the step, a command is not.
        bound: name of the bound that the candidate is, where it is not the one that is judged.
        black_camera: name of the camera that shows nothing; ``None``: all do.
    """

    scene: SceneSource
    reference: Artifact
    candidate: Artifact
    inference_config: Artifact
    requirements: SceneRequirements
    runtime: str
    device: str
    score_threshold: float | None
    recording: Artifact | None = None
    simulator: Simulator = FOUND_SIMULATOR
    bound: str | None = None
    black_camera: str | None = None

    @property
    def step(self) -> Step:
        """Done again for another model, scene, decoding or runtime."""
        return Step(
            name="evaluate",
            version=1,
            inputs={
                "reference": self.reference,
                "candidate": self.candidate,
                "inference_config": self.inference_config,
                "scene": self.scene.content,
                **({"recording": self.recording} if self.recording else {}),
            },
            parameters={
                "runtime": self.runtime,
                "score_threshold": self.score_threshold,
                **({"image": self.simulator.image} if self.simulator.image else {}),
                **({"black_camera": self.black_camera} if self.black_camera else {}),
                **dataclasses.asdict(self.requirements),
            },
            packages=software(
                __name__, *runtime_modules(self.runtime, self.recording), packages=("onnxruntime", *IMAGE_PACKAGES)
            ),
            part=part_of(self.scene.name, self.bound, self.black_camera),
        )

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Evaluate the scene.

        Raises:
            ConfigError: the models are not those of the inference config.
            RuntimeUnavailableError: a model can't be run here.
            SceneError: the scene can't be read.
        """
        config = read_inference_config(open_artifact(store, self.inference_config))
        reference = open_float_model(store, self.reference, self.recording, self.device)
        candidate = Executable(self.candidate, self.runtime, self.device, self.simulator).open(store)
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
        write_json(folder / EVALUATION, evaluation.to_dict())
        summary = summarize([evaluation])
        return {
            "frames": summary.frames,
            "worst_cosine": {name: output.worst_cosine for name, output in summary.outputs.items()},
            "device": self.device,
        }


def part_of(scene: str, bound: str | None = None, black_camera: str | None = None) -> str:
    """Return what a step of a scene is named by: the scene, and what is unlike the evaluation that is judged."""
    return ", ".join(filter(None, (scene, bound, black_camera and f"{black_camera} black")))


def read_evaluation(store: Store, artifact: Artifact) -> SceneEvaluation:
    """Return a stored evaluation."""
    return SceneEvaluation.from_dict(json.loads(open_artifact(store, artifact).read_text(encoding="utf-8")))
