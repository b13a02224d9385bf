"""The folder of a scene while its frames are inferred."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bevformer_lib.detections.infer_records import DETECTIONS_FILE, scene_record
from bevformer_lib.drawing.scene import SceneDrawing, open_scene_drawing
from bevformer_lib.drawing.style import Image
from bevformer_lib.files import atomic_path, write_json
from bevformer_lib.scenes.types import Frame, Scene


class SceneOutput:
    """Takes a scene's frames in order; made by :func:`open_scene_output`."""

    def __init__(self, drawing: SceneDrawing) -> None:
        self.records: list[dict[str, Any]] = []
        self._drawing = drawing

    def add(self, frame: Frame, record: dict[str, Any], image: Image | None) -> None:
        """Write a frame's image, and remember its boxes.

        Raises:
            OutputError: the image or the video can't be written.
        """
        self.records.append(record)
        if image is not None:
            self._drawing.write(frame, image)


@contextmanager
def open_scene_output(
    scene: Scene,
    folder: Path,
    made_with: Mapping[str, Any],
    class_names: tuple[str, ...],
    *,
    images: bool,
    video_fps: float | None,
) -> Iterator[SceneOutput]:
    """Give what takes a scene's frames; ``folder`` appears, whole, when the block ends well.

    Args:
        scene: the scene.
        folder: does not exist yet.
        made_with: recorded with the detections.
        class_names: in the order of the labels.
        images: whether images are written.
        video_fps: frames per second of the video; ``None``: no video.
    """
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        with open_scene_drawing(temporary, images=images, video_fps=video_fps) as drawing:
            output = SceneOutput(drawing)
            yield output
        write_json(temporary / DETECTIONS_FILE, scene_record(scene, made_with, class_names, output.records))
