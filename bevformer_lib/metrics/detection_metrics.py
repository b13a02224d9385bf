"""NDS and mAP by nuscenes-devkit's own functions: from annotations in the scenes, or from a nuScenes database.

Both ways end in the same lists of boxes, which the devkit filters, matches and averages. Only the loop over classes and
match distances is repeated here (`DetectionEval.evaluate` can't be had without a database), for all frames, for each
scene, and for bands of distance.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from bevformer_lib.detections.types import Detections
from bevformer_lib.errors import BevformerError, ConfigError
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
    PrecisionRecall,
    SubsetMetrics,
    TruePositiveErrors,
)
from bevformer_lib.nuscenes.devkit import require_devkit
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.scenes.types import Scene

CONFIG_NAME: Final = "detection_cvpr_2019"
"""The devkit's configuration of the detection task: ranges, distances, weights."""
BANDS_M: Final = ((0.0, 20.0), (20.0, 35.0), (35.0, 50.0))
"""Bands of distance from the car; nuScenes counts no box beyond 50 m."""

_UNDEFINED: Final[Mapping[str, tuple[str, ...]]] = {
    "traffic_cone": ("attr_err", "vel_err", "orient_err"),
    "barrier": ("attr_err", "vel_err"),
}
"""Errors that nuScenes defines for all classes but these."""


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
        MissingPackageError: nuscenes-devkit is not installed.
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
        MissingPackageError: nuscenes-devkit is not installed.
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
    require_devkit()
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.detection.data_classes import DetectionBox

    check_classes(class_names)
    predicted = {
        frame.token: predictions_as_records(frame.detections, class_names, frame.token, frame.lidar_to_common)
        for frame in frames
    }
    annotated = {frame.token: ground_truth_as_records(frame) for frame in frames}
    return score_boxes(
        EvalBoxes.deserialize(annotated, DetectionBox),
        EvalBoxes.deserialize(predicted, DetectionBox),
        FrameTables(frames),
        {frame.token: frame.scene for frame in frames},
        truth=truth,
        on_progress=on_progress,
    )


def check_classes(class_names: Sequence[str]) -> None:
    """Check that nuScenes' metric knows a model's classes.

    Raises:
        ConfigError: it does not.
    """
    from nuscenes.eval.detection.constants import DETECTION_NAMES

    unknown = [name for name in class_names if name not in DETECTION_NAMES]
    if unknown:
        raise ConfigError(
            f"nuScenes' metric has no class {', '.join(unknown)}; its classes: {', '.join(DETECTION_NAMES)}"
        )


def score_boxes(
    ground_truth: Any,
    predictions: Any,
    tables: Any,
    scene_of_token: Mapping[str, str],
    *,
    truth: str,
    on_progress: ProgressCallback = no_progress,
) -> DetectionMetrics:
    """Filter, match and average as ``DetectionEval`` does.

    Args:
        ground_truth: the devkit's ``EvalBoxes`` of ``DetectionBox``, by sample token; changed by the filters.
        predictions: alike.
        tables: what the devkit's filters look up samples, poses and bicycle racks in, by ``get(table, token)``.
        scene_of_token: the scene's name of every sample token.
        truth: ``ANNOTATIONS`` or ``REFERENCE_MODEL``.
        on_progress: told the classes done.
    """
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.common.loaders import add_center_dist, filter_eval_boxes
    from nuscenes.eval.detection.data_classes import DetectionMetrics as DevkitMetrics

    config = config_factory(CONFIG_NAME)
    for boxes in (ground_truth, predictions):
        add_center_dist(tables, boxes)
        if boxes.all:  # the devkit's filter takes the boxes' kind from the first one
            filter_eval_boxes(tables, boxes, config.class_range)
    total = DevkitMetrics(config)
    classes: dict[str, ClassMetrics] = {}
    by_scene: dict[str, dict[str, ClassMetrics]] = defaultdict(dict)
    by_band: list[dict[str, ClassMetrics]] = [{} for _ in BANDS_M]
    tokens_of_scene = _tokens_by_scene(scene_of_token)
    for done, name in enumerate(config.class_names, start=1):
        wanted, given = _subset(ground_truth, name), _subset(predictions, name)
        classes[name] = _score_class(wanted, given, name, config)
        for distance, ap in classes[name].ap_at_m.items():
            total.add_label_ap(name, distance, ap)
        for metric_name, error in zip(_metric_names(), _values(classes[name].errors), strict=True):
            total.add_label_tp(name, metric_name, math.nan if error is None else error)
        for scene, tokens in tokens_of_scene.items():
            in_scene = _subset(wanted, name, tokens), _subset(given, name, tokens)
            by_scene[scene][name] = _score_class(in_scene[0], in_scene[1], name, config)
        for band, scored in zip(BANDS_M, by_band, strict=True):
            in_band = _subset(wanted, name, band_m=band), _subset(given, name, band_m=band)
            scored[name] = _score_class(in_band[0], in_band[1], name, config)
        on_progress("scoring classes", done, len(config.class_names))
    return DetectionMetrics(
        nds=total.nd_score,
        mean_ap=total.mean_ap,
        errors=TruePositiveErrors(*(total.tp_errors[name] for name in _metric_names())),
        truth=truth,
        frames=len(scene_of_token),
        ground_truth=sum(metrics.ground_truth for metrics in classes.values()),
        predictions=sum(metrics.predictions for metrics in classes.values()),
        classes_without_truth=tuple(name for name, metrics in classes.items() if not metrics.ground_truth),
        recall_grid=tuple(np.linspace(0.0, 1.0, 101).tolist()),
        classes=classes,
        bands=tuple(
            DistanceBand(*band, _summary(scored, len(scene_of_token), config))
            for band, scored in zip(BANDS_M, by_band, strict=True)
        ),
        scenes={scene: _summary(by_scene[scene], len(tokens), config) for scene, tokens in tokens_of_scene.items()},
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


def _metric_names() -> list[str]:
    from nuscenes.eval.detection.constants import TP_METRICS

    return list(TP_METRICS)


def _values(errors: TruePositiveErrors) -> tuple[float | None, ...]:
    return errors.translation, errors.scale, errors.orientation, errors.velocity, errors.attribute


def _tokens_by_scene(scene_of_token: Mapping[str, str]) -> dict[str, list[str]]:
    tokens: dict[str, list[str]] = defaultdict(list)
    for token, scene in scene_of_token.items():
        tokens[scene].append(token)
    return tokens


def _subset(
    boxes: Any, class_name: str, tokens: Iterable[str] | None = None, *, band_m: tuple[float, float] | None = None
) -> Any:
    """Return the boxes of a class, of some samples, in a band of distance: as the devkit's matching sees them."""
    from nuscenes.eval.common.data_classes import EvalBoxes

    subset = EvalBoxes()
    for token in boxes.sample_tokens if tokens is None else tokens:
        kept = [box for box in boxes[token] if box.detection_name == class_name]
        if band_m is not None:
            kept = [box for box in kept if band_m[0] <= box.ego_dist < band_m[1]]
        subset.add_boxes(token, kept)
    return subset


def _score_class(ground_truth: Any, predictions: Any, name: str, config: Any) -> ClassMetrics:
    from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp

    data = {
        distance: accumulate(ground_truth, predictions, name, config.dist_fcn_callable, distance)
        for distance in config.dist_ths
    }
    ap_at_m = {distance: calc_ap(curve, config.min_recall, config.min_precision) for distance, curve in data.items()}
    errors = [
        None
        if metric_name in _UNDEFINED.get(name, ())
        else _finite(calc_tp(data[config.dist_th_tp], config.min_recall, metric_name))
        for metric_name in _metric_names()
    ]
    return ClassMetrics(
        ground_truth=len(ground_truth.all),
        predictions=len(predictions.all),
        ap=float(np.mean(list(ap_at_m.values()))),
        ap_at_m=ap_at_m,
        errors=TruePositiveErrors(*errors),
        curves=tuple(
            PrecisionRecall(distance, tuple(curve.precision.tolist()), tuple(curve.confidence.tolist()))
            for distance, curve in data.items()
        ),
    )


def _summary(classes: Mapping[str, ClassMetrics], frames: int, config: Any) -> SubsetMetrics:
    """Average over the classes that are annotated, with the weights of NDS."""
    annotated = {name: metrics for name, metrics in classes.items() if metrics.ground_truth}
    mean_ap = float(np.mean([metrics.ap for metrics in annotated.values()])) if annotated else None
    nds = None
    columns = zip(*(_values(metrics.errors) for metrics in annotated.values()), strict=True)
    errors = [[error for error in column if error is not None] for column in columns]
    if mean_ap is not None and all(errors):
        scores = [max(0.0, 1.0 - float(np.mean(column))) for column in errors]
        nds = (config.mean_ap_weight * mean_ap + sum(scores)) / (config.mean_ap_weight + len(scores))
    return SubsetMetrics(
        frames=frames,
        ground_truth=sum(metrics.ground_truth for metrics in classes.values()),
        predictions=sum(metrics.predictions for metrics in classes.values()),
        mean_ap=mean_ap,
        nds=nds,
        ap={name: metrics.ap for name, metrics in annotated.items()},
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
