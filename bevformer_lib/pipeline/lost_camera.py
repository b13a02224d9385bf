"""What both models find without one camera, as a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bevformer_lib.errors import ConfigError
from bevformer_lib.files import write_json
from bevformer_lib.metrics.both_models import score_both
from bevformer_lib.metrics.lost_camera import LostCamera, objects_shown
from bevformer_lib.pipeline.evaluate import EVALUATION, read_evaluation
from bevformer_lib.pipeline.inputs import SceneSource, parsed, read_json_artifact, read_scene_metas
from bevformer_lib.pipeline.work import PART, Work
from bevformer_lib.plain_data import to_plain
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact

LOST_CAMERA: Final = "lost_camera.json"
WITHOUT: Final = "without"
COMPLETE: Final = "complete"


@dataclass(frozen=True)
class LostCameraWork(Work, step="lost-camera"):
    """Scores both models where one camera was black.

    Attributes:
        evaluations: what ``EvaluateWork`` put out ``WITHOUT`` the camera and with the ``COMPLETE`` set, by scene.
        image_hw: height and width of the images.
    """

    camera: str = field(metadata=PART)
    scenes: tuple[SceneSource, ...]
    evaluations: Mapping[str, Mapping[str, Mapping[str, Artifact]]]
    image_hw: tuple[int, int]

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Score; where that can't be done, put out why.

        Raises:
            BevformerError: detections don't belong to the scenes.
            SceneError: a scene can't be read.
        """
        scenes = read_scene_metas(self.scenes)
        without, complete = (
            [read_evaluation(store, self.evaluations[kind][scene.name][EVALUATION]) for scene in self.scenes]
            for kind in (WITHOUT, COMPLETE)
        )
        try:
            reference, candidate = score_both(scenes, without, complete=complete, on_progress=on_progress)
        except ConfigError as error:
            write_json(folder / LOST_CAMERA, {"unavailable": str(error)})
            return {"unavailable": str(error)}
        lost = LostCamera(self.camera, *objects_shown(scenes, self.camera, self.image_hw), reference, candidate)
        write_json(folder / LOST_CAMERA, to_plain(lost))
        return {"mAP": {"reference": reference.mean_ap, "candidate": candidate.mean_ap}}


def read_lost_camera(store: Store, artifact: Artifact) -> LostCamera | None:
    """Return what was found without a camera; ``None`` where nothing could be scored."""
    content = read_json_artifact(store, artifact)
    return None if "unavailable" in content else parsed(artifact, LostCamera, content)
