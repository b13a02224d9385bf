"""The images of a scene: a file per frame, and a video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2

from bevformer_lib.detections.types import Detections
from bevformer_lib.drawing.frame import draw_frame
from bevformer_lib.drawing.style import Image
from bevformer_lib.drawing.video import VideoWriter, open_video
from bevformer_lib.errors import OutputError
from bevformer_lib.scenes.types import Frame

PICTURES_FOLDER: Final = "images"
VIDEO_FILE: Final = "video.mp4"

_JPEG_QUALITY: Final = 92


@dataclass(frozen=True)
class SceneStyle:
    """What all images of a scene have in common.

    Attributes:
        class_names: in the order of the labels.
        pc_range: x_min, y_min, z_min, x_max, y_max, z_max in metres; the ground shown from above.
    """

    scene_name: str
    model_name: str
    class_names: Sequence[str]
    pc_range: Sequence[float]
    score_threshold: float


def draw_scene_frame(style: SceneStyle, frame: Frame, images: Sequence[Image], detections: Detections) -> Image:
    """Draw a frame with its annotations, if it has any.

    Args:
        style: what the images of the scene have in common.
        frame: the frame.
        images: one (H, W, 3) uint8 BGR per camera, all of one size.
        detections: its boxes.
    """
    count = len(detections.scores)
    boxes = f"{count} {'box' if count == 1 else 'boxes'} above {style.score_threshold:g}"
    return draw_frame(
        images,
        frame.lidar_to_image,
        detections,
        style.class_names,
        pc_range=style.pc_range,
        ground_truth=frame.gt_boxes,
        title=f"{style.scene_name} \u00b7 frame {frame.index}",
        subtitle=f"{style.model_name} \u00b7 {boxes}",
    )


@contextmanager
def open_scene_drawing(folder: Path, *, images: bool, video_fps: float | None) -> Iterator[SceneDrawing]:
    """Give what writes a scene's drawn frames into ``folder``; the video is whole when the block ends.

    Args:
        folder: exists; gets ``images/`` and ``video.mp4``.
        images: whether to write an image per frame.
        video_fps: frames per second of the video; ``None``: no video.

    Raises:
        OutputError: the video can't be written.
    """
    with ExitStack() as stack:
        video = None if video_fps is None else stack.enter_context(open_video(folder / VIDEO_FILE, fps=video_fps))
        if images:
            (folder / PICTURES_FOLDER).mkdir()
        yield SceneDrawing(folder / PICTURES_FOLDER if images else None, video)


@dataclass(frozen=True)
class SceneDrawing:
    """Writes the drawn frames of one scene, in order; made by :func:`open_scene_drawing`."""

    images: Path | None
    video: VideoWriter | None

    def write(self, frame: Frame, image: Image) -> None:
        """Write a frame that :func:`draw_scene_frame` drew.

        Raises:
            OutputError: the image or the video can't be written.
        """
        if self.images is not None:
            write_jpeg(self.images / f"{frame.index:06d}.jpg", image)
        if self.video is not None:
            self.video.write(image)


def write_jpeg(path: Path, image: Image) -> None:
    """Write an image; about a fifth of a PNG's size, with no difference that the eye sees.

    Raises:
        OutputError: the image can't be encoded (larger than 65535 pixels).
    """
    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise OutputError(f"{path}: an image of {image.shape[1]} x {image.shape[0]} pixels can't be encoded")
    path.write_bytes(encoded.tobytes())
