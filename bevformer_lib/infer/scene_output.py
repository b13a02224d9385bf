"""The folder of a scene while its frames are inferred."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bevformer_lib.detections.infer_records import DETECTIONS_FILE, frame_line, scene_text
from bevformer_lib.drawing.scene import SceneDrawing, open_scene_drawing
from bevformer_lib.drawing.style import Image
from bevformer_lib.files import atomic_path
from bevformer_lib.scenes.types import Frame, Scene


class SceneOutput:
    """Takes a scene's frames in order; made by :func:`open_scene_output`."""

    def __init__(self, drawing: SceneDrawing) -> None:
        self.frame_lines: list[str] = []
        self._drawing = drawing

    def add(self, record: Mapping[str, Any]) -> None:
        """Remember a frame's boxes."""
        self.frame_lines.append(frame_line(record))

    def draw(self, frame: Frame, image: Image) -> None:
        """Write a frame's image.

        Raises:
            OutputError: the image or the video can't be written.
        """
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
        text = scene_text(scene, made_with, class_names, output.frame_lines)
        (temporary / DETECTIONS_FILE).write_text(text, encoding="utf-8")
