"""What `bevformer infer` wrote, read back: detections by scene and frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.detections.infer_records import BOX_VALUES, DETECTIONS_FILE
from bevformer_lib.detections.types import Detections
from bevformer_lib.errors import BevformerError
from bevformer_lib.scenes.types import Scene
from bevformer_lib.strict_json import read_json_object

_SIZES: Final = slice(BOX_VALUES.index("width"), BOX_VALUES.index("height") + 1)
_MOST_BOXES: Final = 10_000
"""Of a frame: models give 300, nuScenes' metric takes 500."""


@dataclass(frozen=True)
class FrameDetections:
    """The detections of a frame.

    Attributes:
        index: the frame's number in its file names.
    """

    index: int
    sample_token: str | None
    detections: Detections


@dataclass(frozen=True)
class SceneDetections:
    """The detections of a scene.

    Attributes:
        path: the file they were read from.
        class_names: in the order of the labels.
        made_with: what decided the results: digests of model, config and scene, runtime, threshold.
        frames: in time order.
    """

    scene: str
    path: Path
    class_names: tuple[str, ...]
    made_with: Mapping[str, Any]
    frames: tuple[FrameDetections, ...]

    @property
    def score_threshold(self) -> float:
        """Boxes at or below this score were not written."""
        return float(self.made_with.get("score_threshold") or 0.0)


def read_detections(folder: Path) -> tuple[SceneDetections, ...]:
    """Read the detections of all scenes in a folder, sorted by name.

    Raises:
        BevformerError: there are none, a file is malformed, or the files come from different models.
    """
    paths = sorted(folder.glob(f"*/{DETECTIONS_FILE}"))
    if not paths:
        raise BevformerError(f"{folder}: holds no {DETECTIONS_FILE} of a scene; name the folder that 'infer' wrote")
    scenes = tuple(_read_scene(path) for path in paths)
    first = scenes[0]
    for other in scenes[1:]:
        differing = [key for key in ("model_sha256", "score_threshold") if _made(other, key) != _made(first, key)]
        if differing or other.class_names != first.class_names:
            raise BevformerError(
                f"{first.path} and {other.path} come from different runs ({', '.join(differing) or 'class names'} "
                "differ); score one model at a time"
            )
    return scenes


def detections_of_scenes(found: Sequence[SceneDetections], scenes: Sequence[Scene]) -> dict[str, list[Detections]]:
    """Return detections by scene name, one per frame of the scene, in its order.

    Raises:
        BevformerError: a scene or one of its frames has no detections.
    """
    by_scene = {one.scene: one for one in found}
    detections: dict[str, list[Detections]] = {}
    for scene in scenes:
        if scene.name not in by_scene:
            raise BevformerError(
                f"scene {scene.name} has no detections; there are some of {', '.join(sorted(by_scene))}"
            )
        frames = {frame.index: frame.detections for frame in by_scene[scene.name].frames}
        missing = [frame.index for frame in scene.frames if frame.index not in frames]
        if missing:
            raise BevformerError(f"{by_scene[scene.name].path}: has no detections of frame {missing[0]}")
        detections[scene.name] = [frames[frame.index] for frame in scene.frames]
    return detections


def _made(scene: SceneDetections, key: str) -> Any:
    return scene.made_with.get(key)


def _read_scene(path: Path) -> SceneDetections:
    try:
        content = read_json_object(path)
    except ValueError as error:
        raise BevformerError(f"{path}: {error}") from error
    try:
        class_names = tuple(str(name) for name in content["class_names"])
        return SceneDetections(
            scene=str(content["scene"]),
            path=path,
            class_names=class_names,
            made_with=dict(content["made_with"]),
            frames=tuple(_frame(frame, class_names) for frame in content["frames"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise BevformerError(
            f"{path}: is not what 'bevformer infer' writes ({error!r}); run it again into another folder"
        ) from error


def _frame(content: Mapping[str, Any], class_names: Sequence[str]) -> FrameDetections:
    boxes = content["boxes"]
    if len(boxes) > _MOST_BOXES:
        raise ValueError(f"a frame has {len(boxes):,} boxes, more than {_MOST_BOXES:,}")
    token = content["sample_token"]
    detections = Detections(
        boxes=_single(np.array([box["box"] for box in boxes], dtype=np.float64)).reshape(len(boxes), len(BOX_VALUES)),
        scores=_single(np.array([box["score"] for box in boxes], dtype=np.float64)),
        labels=np.array([class_names.index(box["class"]) for box in boxes], dtype=np.int64),
    )
    _check_boxes(detections)
    index = content["index"]
    if type(index) is not int or index < 0:
        raise ValueError(f"frame {index!r:.80} is no frame number")
    return FrameDetections(index, None if token is None else str(token), detections)


def _single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # refused as infinite
        return values.astype(np.float32)


def _check_boxes(detections: Detections) -> None:
    if not np.isfinite(detections.boxes).all():
        raise ValueError("a box holds NaN or infinity")
    if not (detections.boxes[:, _SIZES] > 0.0).all():
        raise ValueError("a box has a width, length or height that is not above 0")
    scores = detections.scores
    if not ((scores >= 0.0) & (scores <= 1.0)).all():
        raise ValueError("a score is not in 0 to 1")
