"""What both models find without one camera, as a step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bevformer_lib.errors import ConfigError
from bevformer_lib.files import write_json
from bevformer_lib.metrics.both_models import PROXY_SCORE, score_both
from bevformer_lib.metrics.lost_camera import LostCamera, objects_shown
from bevformer_lib.pipeline.evaluate import EVALUATION, read_evaluation
from bevformer_lib.pipeline.inputs import SceneSource, open_artifact, read_scene_metas
from bevformer_lib.pipeline.software import software
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact, Step

LOST_CAMERA: Final = "lost_camera.json"


@dataclass(frozen=True)
class LostCameraWork:
    """Scores both models where one camera was black.

    Attributes:
        camera: its name.
        scenes: all scenes.
        without: what ``EvaluateWork`` put out with the camera black, by scene.
        complete: with all cameras, alike.
        image_hw: height and width of the images.
    """

    camera: str
    scenes: tuple[SceneSource, ...]
    without: Mapping[str, Artifact]
    complete: Mapping[str, Artifact]
    image_hw: tuple[int, int]

    @property
    def step(self) -> Step:
        """Done again when boxes or annotations change."""
        return Step(
            name="lost-camera",
            version=1,
            inputs={
                **{f"scene {scene.name}": scene.content for scene in self.scenes},
                **{f"{scene}/without/{EVALUATION}": artifact for scene, artifact in self.without.items()},
                **{f"{scene}/complete/{EVALUATION}": artifact for scene, artifact in self.complete.items()},
            },
            parameters={"camera": self.camera, "proxy_score": PROXY_SCORE, "image_hw": list(self.image_hw)},
            packages=software(__name__),
            part=self.camera,
        )

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Score; where that can't be done, put out why.

        Raises:
            BevformerError: detections don't belong to the scenes.
            SceneError: a scene can't be read.
        """
        scenes = read_scene_metas(self.scenes)
        without, complete = (
            [read_evaluation(store, evaluations[scene.name]) for scene in self.scenes]
            for evaluations in (self.without, self.complete)
        )
        try:
            reference, candidate = score_both(scenes, without, complete=complete, on_progress=on_progress)
        except ConfigError as error:
            write_json(folder / LOST_CAMERA, {"unavailable": str(error)})
            return {"unavailable": str(error)}
        lost = LostCamera(self.camera, *objects_shown(scenes, self.camera, self.image_hw), reference, candidate)
        write_json(folder / LOST_CAMERA, lost.to_dict())
        return {"mAP": {"reference": reference.mean_ap, "candidate": candidate.mean_ap}}


def read_lost_camera(store: Store, artifact: Artifact) -> LostCamera | None:
    """Return what was found without a camera; ``None`` where nothing could be scored."""
    content = json.loads(open_artifact(store, artifact).read_text(encoding="utf-8"))
    return None if "unavailable" in content else LostCamera.from_dict(content)
