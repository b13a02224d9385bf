"""Checking all scenes before any work is done with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bevformer_lib.files import write_json
from bevformer_lib.pipeline.input_locations import position_here
from bevformer_lib.pipeline.inputs import IMAGE_PACKAGES, SceneSource, scenes_root
from bevformer_lib.pipeline.work import Work
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.scenes.layout import MADE_UP_MARK
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.store.base import Store

SCENE_LIST: Final = "scenes.json"


@dataclass(frozen=True)
class CheckScenesWork(Work, step="check-scenes", packages=IMAGE_PACKAGES):
    """Reads every file of the scenes; puts out a list of what they hold.

    Attributes:
        scenes: neighbours in one folder, in its order.
    """

    scenes: tuple[SceneSource, ...]
    requirements: SceneRequirements

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Check the scenes.

        Raises:
            SceneError: with every defect of every scene.
        """
        root = scenes_root(self.scenes)
        start = position_here(root, self.scenes[0].name)
        scenes = read_scenes(
            root, self.requirements, start_scene=start, end_scene=start + len(self.scenes), on_progress=on_progress
        )
        listed = [
            {
                "name": scene.name,
                "frames": [frame.index for frame in scene.frames],
                "annotated_frames": sum(frame.gt_boxes is not None for frame in scene.frames),
                "annotated_boxes": sum(len(frame.gt_boxes or ()) for frame in scene.frames),
            }
            for scene in scenes
        ]
        write_json(folder / SCENE_LIST, {"scenes": listed})
        return {
            "scenes": len(listed),
            "frames": sum(len(scene.frames) for scene in scenes),
            "made_up": (root / MADE_UP_MARK).is_file(),
        }
