"""Detections made from annotations: exact, or spoilt on purpose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bevformer_lib.detections.geometry import ground_truth_as_detection_boxes
from bevformer_lib.detections.types import Detections
from bevformer_lib.scenes.types import GroundTruthBox, Scene
from tests.support.micro import CLASS_NAMES


def detections_of(boxes: Sequence[GroundTruthBox], scores: Sequence[float] | None = None) -> Detections:
    """Exactly these boxes; best score first."""
    given = np.linspace(0.9, 0.5, len(boxes)) if scores is None else np.array(scores)
    order = np.argsort(-given, kind="stable")
    return Detections(
        boxes=ground_truth_as_detection_boxes(boxes)[order],
        scores=given[order].astype(np.float32),
        labels=np.array([CLASS_NAMES.index(box.category) for box in boxes], dtype=np.int64)[order],
    )


def spoilt(boxes: Sequence[GroundTruthBox], rng: np.random.Generator, *, false_boxes: int = 8) -> Detections:
    """Most of the boxes, displaced, turned, resized, slowed; and as many false ones."""
    found = [box for box in boxes if rng.uniform() < 0.8]
    labels = [CLASS_NAMES.index(box.category) for box in found] + rng.integers(0, 10, false_boxes).tolist()
    values = np.concatenate([ground_truth_as_detection_boxes(found), np.zeros((false_boxes, 9), np.float32)])
    values[len(found) :, :2] = rng.uniform(-45.0, 45.0, (false_boxes, 2))
    values[len(found) :, 3:6] = rng.uniform(0.5, 4.0, (false_boxes, 3))
    values += rng.normal(0.0, (0.7, 0.7, 0.3, 0.0, 0.0, 0.0, 0.3, 0.5, 0.5), values.shape)
    values[:, 3:6] *= rng.uniform(0.8, 1.2, (len(values), 3))
    scores = rng.uniform(0.05, 0.95, len(values)).astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    return Detections(values[order].astype(np.float32), scores[order], np.array(labels, dtype=np.int64)[order])


def spoilt_scenes(scenes: Sequence[Scene], *, seed: int = 0) -> dict[str, list[Detections]]:
    """Spoilt annotations of every frame, by scene."""
    rng = np.random.default_rng(seed)
    return {scene.name: [spoilt(frame.gt_boxes or (), rng) for frame in scene.frames] for scene in scenes}
