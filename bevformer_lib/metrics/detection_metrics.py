"""NDS and mAP as nuScenes defines them: from annotations in the scenes, or from a nuScenes database.

Both ways end in the same records of boxes, scored over all frames, for each scene, and for bands of distance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from bevformer_lib.detections.types import Detections
from bevformer_lib.errors import BevformerError, ConfigError
from bevformer_lib.metrics.box_table import countable_boxes
from bevformer_lib.metrics.class_metrics import pairs_of_class, score_class
from bevformer_lib.metrics.constants import CLASS_NAMES, MEAN_AP_WEIGHT, RECALLS
from bevformer_lib.metrics.eval_boxes import (
    FrameTables,
    ScoredFrame,
    detections_as_ground_truth,
    ground_truth_as_records,
    predictions_as_records,
)
from bevformer_lib.metrics.metric_types import (
    ANNOTATIONS,
    REFERENCE_MODEL,
    ClassMetrics,
    DetectionMetrics,
    DistanceBand,
    SubsetMetrics,
    TruePositiveErrors,
)
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.scenes.types import Scene

BANDS_M: Final = ((0.0, 20.0), (20.0, 35.0), (35.0, 50.0))
"""Bands of distance from the car; nuScenes counts no box beyond 50 m."""


def score_scenes(
    scenes: Sequence[Scene],
    detections: Mapping[str, Sequence[Detections]],
    class_names: Sequence[str],
    *,
    on_progress: ProgressCallback = no_progress,
) -> DetectionMetrics:
    """Score detections against the annotations that the scenes carry; frames without annotations are left out.

    Args:
        scenes: with ``gt_boxes`` in some frames at least.
        detections: by scene name, one per frame in the scene's order. Any score threshold lowers the metric.
        class_names: in the order of the labels.
        on_progress: told the classes done.

    Raises:
        ConfigError: classes are none of nuScenes'.
        BevformerError: no frame has annotations, or a scene's detections don't belong to its frames.
    """
    frames = [
        ScoredFrame(scene.name, frame, found, frame.gt_boxes)
        for scene, frame, found in _paired(scenes, detections)
        if frame.gt_boxes is not None
    ]
    if not frames:
        raise BevformerError(
            "no frame of these scenes has annotations (gt_boxes), so there is no NDS or mAP; extract the scenes from "
            "nuScenes, or compare with the float model's boxes instead"
        )
    return score_frames(frames, class_names, truth=ANNOTATIONS, on_progress=on_progress)


def score_agreement(
    scenes: Sequence[Scene],
    detections: Mapping[str, Sequence[Detections]],
    reference: Mapping[str, Sequence[Detections]],
    class_names: Sequence[str],
    *,
    score_threshold: float,
    on_progress: ProgressCallback = no_progress,
) -> DetectionMetrics:
    """Score detections against another model's boxes, for scenes without annotations. A proxy, and named as one.

    Args:
        scenes: the scenes.
        detections: of the model to judge, as in :func:`score_scenes`.
        reference: of the float model, alike.
        class_names: in the order of the labels.
        score_threshold: the reference's boxes above it are taken for objects.
        on_progress: told the classes done.

    Raises:
        ConfigError: classes are none of nuScenes'.
        BevformerError: detections don't belong to the scenes' frames.
    """
    truths = {
        (scene.name, frame.index): detections_as_ground_truth(found, class_names, score_threshold=score_threshold)
        for scene, frame, found in _paired(scenes, reference)
    }
    frames = [
        ScoredFrame(scene.name, replace(frame, ego_to_global=None), found, truths[scene.name, frame.index])
        for scene, frame, found in _paired(scenes, detections)
    ]
    if not frames:
        raise BevformerError("there is nothing to compare: give at least one scene with one frame")
    return score_frames(frames, class_names, truth=REFERENCE_MODEL, on_progress=on_progress)


def score_frames(
    frames: Sequence[ScoredFrame],
    class_names: Sequence[str],
    *,
    truth: str,
    on_progress: ProgressCallback = no_progress,
) -> DetectionMetrics:
    """Score frames that carry their own truth; see :func:`score_scenes`."""
    annotated, predicted = records_of_frames(frames, class_names)
    return score_boxes(
        annotated,
        predicted,
        FrameTables(frames),
        {frame.token: frame.scene for frame in frames},
        truth=truth,
        on_progress=on_progress,
    )


def records_of_frames(
    frames: Sequence[ScoredFrame], class_names: Sequence[str]
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, list[dict[str, Any]]]]:
    """Return annotations and predictions by token, as :func:`score_boxes` takes them.

    Raises:
        ConfigError: classes are none of nuScenes'.
    """
    check_classes(class_names)
    predicted = {
        frame.token: predictions_as_records(frame.detections, class_names, frame.token, frame.lidar_to_common)
        for frame in frames
    }
    return {frame.token: ground_truth_as_records(frame) for frame in frames}, predicted


def check_classes(class_names: Sequence[str]) -> None:
    """Check that nuScenes' metric knows a model's classes.

    Raises:
        ConfigError: it does not.
    """
    unknown = [name for name in class_names if name not in CLASS_NAMES]
    if unknown:
        raise ConfigError(f"nuScenes' metric has no class {', '.join(unknown)}; its classes: {', '.join(CLASS_NAMES)}")


def score_boxes(
    ground_truth: Mapping[str, Sequence[Mapping[str, Any]]],
    predictions: Mapping[str, Sequence[Mapping[str, Any]]],
    tables: Any,
    scene_of_token: Mapping[str, str],
    *,
    truth: str,
    on_progress: ProgressCallback = no_progress,
) -> DetectionMetrics:
    """Filter, match and average as ``DetectionEval`` does.

    Args:
        ground_truth: by sample token, in the form of nuScenes' results file with ``num_pts``.
        predictions: alike, without ``num_pts``.
        tables: what samples, poses and bicycle racks are looked up in, by ``get(table, token)``.
        scene_of_token: the scene's name of every sample token.
        truth: ``ANNOTATIONS`` or ``REFERENCE_MODEL``.
        on_progress: told the classes done.
    """
    tokens = list(scene_of_token)
    wanted, given = (countable_boxes(records, tokens, tables) for records in (ground_truth, predictions))
    frames_of_scene = {
        name: np.array([scene == name for scene in scene_of_token.values()])
        for name in dict.fromkeys(scene_of_token.values())
    }
    classes: dict[str, ClassMetrics] = {}
    by_scene: dict[str, dict[str, ClassMetrics]] = {scene: {} for scene in frames_of_scene}
    by_band: list[dict[str, ClassMetrics]] = [{} for _ in BANDS_M]
    for label, name in enumerate(CLASS_NAMES):
        pairs = pairs_of_class(name, wanted.take(wanted.label == label), given.take(given.label == label))
        both = pairs.truth, pairs.found
        classes[name] = score_class(pairs, *(np.ones(len(boxes), dtype=np.bool_) for boxes in both))
        for scene, in_scene in frames_of_scene.items():
            by_scene[scene][name] = score_class(pairs, *(in_scene[boxes.frame] for boxes in both))
        for (nearest, farthest), scored in zip(BANDS_M, by_band, strict=True):
            in_band = [(nearest <= boxes.distance_m) & (boxes.distance_m < farthest) for boxes in both]
            scored[name] = score_class(pairs, *in_band)
        on_progress("scoring classes", label + 1, len(CLASS_NAMES))
    mean_ap = float(np.mean([metrics.ap for metrics in classes.values()]))
    errors = [_mean_of_known(column) for column in zip(*(_values(one.errors) for one in classes.values()), strict=True)]
    return DetectionMetrics(
        nds=_nds(mean_ap, errors),
        mean_ap=mean_ap,
        errors=TruePositiveErrors(*errors),
        truth=truth,
        frames=len(tokens),
        ground_truth=len(wanted),
        predictions=len(given),
        classes_without_truth=tuple(name for name, metrics in classes.items() if not metrics.ground_truth),
        recall_grid=tuple(np.linspace(0.0, 1.0, RECALLS).tolist()),
        classes=classes,
        bands=tuple(
            DistanceBand(*band, _summary(scored, len(tokens))) for band, scored in zip(BANDS_M, by_band, strict=True)
        ),
        scenes={scene: _summary(by_scene[scene], int(kept.sum())) for scene, kept in frames_of_scene.items()},
    )


def _paired(scenes: Sequence[Scene], detections: Mapping[str, Sequence[Detections]]) -> Iterable[Any]:
    """Yield (scene, frame, detections) of every frame."""
    for scene in scenes:
        found = detections.get(scene.name, ())
        if len(found) != len(scene.frames):
            raise BevformerError(
                f"scene {scene.name} has {len(scene.frames)} frames and {len(found)} of detections; "
                "run 'bevformer infer' over the same scenes"
            )
        yield from ((scene, frame, boxes) for frame, boxes in zip(scene.frames, found, strict=True))


def _values(errors: TruePositiveErrors) -> tuple[float | None, ...]:
    return errors.translation, errors.scale, errors.orientation, errors.velocity, errors.attribute


def _mean_of_known(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else 1.0


def _nds(mean_ap: float, errors: Sequence[float]) -> float:
    """Weigh mAP and the errors' scores, of which none is below 0."""
    scores = [max(0.0, 1.0 - error) for error in errors]
    return (MEAN_AP_WEIGHT * mean_ap + sum(scores)) / (MEAN_AP_WEIGHT + len(scores))


def _summary(classes: Mapping[str, ClassMetrics], frames: int) -> SubsetMetrics:
    """Average over the classes that are annotated, with the weights of NDS."""
    annotated = {name: metrics for name, metrics in classes.items() if metrics.ground_truth}
    mean_ap = float(np.mean([metrics.ap for metrics in annotated.values()])) if annotated else None
    columns = zip(*(_values(metrics.errors) for metrics in annotated.values()), strict=True)
    errors = [[error for error in column if error is not None] for column in columns]
    return SubsetMetrics(
        frames=frames,
        ground_truth=sum(metrics.ground_truth for metrics in classes.values()),
        predictions=sum(metrics.predictions for metrics in classes.values()),
        mean_ap=mean_ap,
        nds=None if mean_ap is None or not all(errors) else _nds(mean_ap, [float(np.mean(one)) for one in errors]),
        ap={name: metrics.ap for name, metrics in annotated.items()},
    )
