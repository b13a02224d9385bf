"""The frames that a report shows: where the compiled model strays most, both models' boxes in one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from bevformer_lib.config.inference_config import InferenceConfig
from bevformer_lib.detections.types import Detections, FrameEvaluation, SceneEvaluation
from bevformer_lib.drawing.comparison import draw_comparison
from bevformer_lib.names import OUTPUT_BEV_EMBED
from bevformer_lib.report.content import ReportImage
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.types import Scene

DRAWN_SCORE: Final = 0.3
"""Boxes above this score are drawn; the numbers of the report count all boxes."""
_BEST: Final = 10
"""Drawn of each model where no box of the reference scores as high."""
_JPEG_QUALITY: Final = 82


@dataclass(frozen=True)
class ShownFrame:
    """A frame and why it is shown."""

    scene: str
    position: int
    reason: str


def frames_to_show(evaluations: Sequence[SceneEvaluation], *, at_most: int) -> tuple[ShownFrame, ...]:
    """Choose the worst frame (by relative error of ``bev_embed``) of the worst scenes, and a scene's first frame."""
    worst = sorted((_worst_frame(evaluation) for evaluation in evaluations), key=lambda found: -found[0])
    shown = [ShownFrame(scene, position, f"{rank} of its scene") for _, scene, position, rank in worst[: at_most - 1]]
    first = ShownFrame(evaluations[0].scene, 0, "no prev_bev yet")
    return tuple(shown if any(one.scene == first.scene and one.position == 0 for one in shown) else [*shown, first])


def draw_shown_frames(
    shown: Sequence[ShownFrame],
    evaluations: Mapping[str, SceneEvaluation],
    scenes: Mapping[str, Scene],
    config: InferenceConfig,
    preprocessor: Preprocessor,
    names: tuple[str, str],
) -> tuple[ReportImage, ...]:
    """Draw frames for a report."""
    return tuple(
        _draw(one, evaluations[one.scene].frames[one.position], scenes[one.scene], config, preprocessor, names)
        for one in shown
    )


def _worst_frame(evaluation: SceneEvaluation) -> tuple[float, str, int, str]:
    errors = [frame.fidelity[OUTPUT_BEV_EMBED].relative_error for frame in evaluation.frames]
    broken = [position for position, error in enumerate(errors) if error is None]
    if broken:
        return np.inf, evaluation.scene, broken[0], "first frame with values that are not finite"
    position = int(np.argmax(np.array(errors, dtype=np.float64)))
    return float(errors[position] or 0.0), evaluation.scene, position, "frame with the largest error of bev_embed"


def _draw(
    shown: ShownFrame,
    frame: FrameEvaluation,
    scene: Scene,
    config: InferenceConfig,
    preprocessor: Preprocessor,
    names: tuple[str, str],
) -> ReportImage:
    stored = scene.frames[shown.position]
    above = bool((frame.reference.scores > DRAWN_SCORE).any())
    drawn = f"boxes with a score above {DRAWN_SCORE:g}" if above else f"the {_BEST} best boxes of each model"
    image = draw_comparison(
        preprocessor.images(stored),
        stored.lidar_to_image,
        pc_range=config.pc_range,
        reference=_chosen(frame.reference, above),
        candidate=_chosen(frame.candidate, above),
        ground_truth=stored.gt_boxes,
        names=names,
        title=f"{scene.name} \u00b7 frame {frame.index}",
        subtitle=drawn,
    )
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    caption = f"{scene.name}, frame {frame.index}: {shown.reason}; {drawn}"
    return ReportImage(caption, f"{names[0]} and {names[1]}", encoded.tobytes())


def _chosen(detections: Detections, above: bool) -> Detections:
    count = int((detections.scores > DRAWN_SCORE).sum()) if above else min(_BEST, len(detections.scores))
    return replace(
        detections,
        boxes=detections.boxes[:count],
        scores=detections.scores[:count],
        labels=detections.labels[:count],
    )
