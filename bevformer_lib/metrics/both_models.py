"""nuScenes' detection metric of the float model and of the one that was compiled from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from bevformer_lib.detections.types import Detections, SceneEvaluation
from bevformer_lib.errors import ConfigError
from bevformer_lib.metrics.detection_metrics import score_agreement, score_scenes
from bevformer_lib.metrics.metric_types import DetectionMetrics
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.scenes.types import Scene

PROXY_SCORE: Final = 0.3
"""The float model's boxes above it are taken for objects where nothing is annotated."""


def score_both(
    scenes: Sequence[Scene],
    evaluations: Sequence[SceneEvaluation],
    *,
    complete: Sequence[SceneEvaluation] | None = None,
    on_progress: ProgressCallback = no_progress,
) -> tuple[DetectionMetrics, DetectionMetrics]:
    """Score both models' boxes against the annotations; where there are none, against the float model's boxes.

    Args:
        scenes: the scenes; their images are not needed.
        evaluations: of the same scenes.
        complete: evaluations whose float boxes stand for annotations that are missing; ``None``: the same.
        on_progress: told the classes done.

    Returns:
        Metrics of the reference and of the candidate.

    Raises:
        ConfigError: nothing is annotated and the float model finds nothing, or the classes are none of nuScenes'.
        BevformerError: detections don't belong to the scenes' frames.
    """
    class_names = evaluations[0].class_names
    reference, candidate = (_boxes(evaluations, model) for model in ("reference", "candidate"))
    if any(frame.gt_boxes is not None for scene in scenes for frame in scene.frames):
        scored = [score_scenes(scenes, boxes, class_names, on_progress=on_progress) for boxes in (reference, candidate)]
        return scored[0], scored[1]
    objects = _boxes(complete or evaluations, "reference")
    if not any((boxes.scores > PROXY_SCORE).any() for frames in objects.values() for boxes in frames):
        raise ConfigError(
            f"nothing is annotated, and the float model finds no box above a score of {PROXY_SCORE} to agree on"
        )
    scored = [
        score_agreement(scenes, boxes, objects, class_names, score_threshold=PROXY_SCORE, on_progress=on_progress)
        for boxes in (reference, candidate)
    ]
    return scored[0], scored[1]


def _boxes(evaluations: Sequence[SceneEvaluation], model: str) -> Mapping[str, Sequence[Detections]]:
    return {one.scene: [getattr(frame, model) for frame in one.frames] for one in evaluations}
