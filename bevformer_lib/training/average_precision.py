"""Average precision by nuScenes' rules, for the curves of a training; scores to report come from ``bevformer score``.

Matching by distance of the centres on the ground, each class within its range, AP as the mean over four distances of
the area above precision 0.1 and recall 0.1 (Caesar et al., arXiv:1903.11027, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.metrics.constants import (
    CLASS_RANGES_M,
    ERROR_DISTANCE_M,
    MATCH_DISTANCES_M,
    MIN_PRECISION,
    MIN_RECALL,
    RECALLS,
)

OTHER_RANGE_M: Final = 50.0
MOVING_MPS: Final = 0.5

_RECALLS: Final = np.linspace(0.0, 1.0, RECALLS)


@dataclass(frozen=True)
class FrameBoxes:
    """Boxes of one frame, detected or annotated, one class each.

    Attributes:
        xy_m: (n, 2).
        velocity_mps: (n, 2).
        labels: (n,).
        scores: (n,); all ones for annotations.
    """

    xy_m: NDArray[Any]
    velocity_mps: NDArray[Any]
    labels: NDArray[Any]
    scores: NDArray[Any]


def average_precisions(
    detected: Sequence[FrameBoxes], annotated: Sequence[FrameBoxes], class_names: Sequence[str]
) -> dict[str, Any]:
    """Return ``map``, ``ap`` by class (``None`` for a class without annotations) and ``velocity_error_mps``.

    The velocity error is that of objects that move faster than :data:`MOVING_MPS`, found within 2 m.
    """
    by_class: dict[str, float | None] = {}
    errors: list[float] = []
    for label, name in enumerate(class_names):
        reach = CLASS_RANGES_M.get(name, OTHER_RANGE_M)
        frames = [
            (_of_class(d, label, reach), _of_class(a, label, reach)) for d, a in zip(detected, annotated, strict=True)
        ]
        objects = sum(len(truth.labels) for _, truth in frames)
        if not objects:
            by_class[name] = None
            continue
        areas = []
        for distance in MATCH_DISTANCES_M:
            scores, hits = [], []
            for found, truth in frames:
                pairs = _matched(found, truth, distance)
                scores.append(found.scores)
                hits.append(pairs >= 0)
                if distance == ERROR_DISTANCE_M:
                    errors += _velocity_errors(found, truth, pairs)
            areas.append(_area(np.concatenate(scores), np.concatenate(hits), objects))
        by_class[name] = float(np.mean(areas))
    known = [value for value in by_class.values() if value is not None]
    return {
        "map": float(np.mean(known)) if known else None,
        "velocity_error_mps": float(np.mean(errors)) if errors else None,
        "ap": by_class,
    }


def _of_class(boxes: FrameBoxes, label: int, reach_m: float) -> FrameBoxes:
    kept = (boxes.labels == label) & (np.hypot(boxes.xy_m[:, 0], boxes.xy_m[:, 1]) <= reach_m)
    order = np.flatnonzero(kept)[np.argsort(-boxes.scores[kept], kind="stable")]
    return FrameBoxes(boxes.xy_m[order], boxes.velocity_mps[order], boxes.labels[order], boxes.scores[order])


def _matched(found: FrameBoxes, truth: FrameBoxes, distance_m: float) -> NDArray[np.int64]:
    """Return per detection, best first, the nearest annotation that is still free and near enough, or -1."""
    pairs = np.full(len(found.labels), -1, dtype=np.int64)
    if not len(truth.labels):
        return pairs
    distances = np.linalg.norm(found.xy_m[:, None] - truth.xy_m[None], axis=-1)
    for index in np.flatnonzero(distances.min(axis=1) < distance_m):
        nearest = int(np.argmin(distances[index]))
        if distances[index, nearest] < distance_m:
            pairs[index] = nearest
            distances[:, nearest] = np.inf
    return pairs


def _velocity_errors(found: FrameBoxes, truth: FrameBoxes, pairs: NDArray[np.int64]) -> list[float]:
    hits = np.flatnonzero(pairs >= 0)
    wanted = truth.velocity_mps[pairs[hits]]
    moving = np.linalg.norm(wanted, axis=1) > MOVING_MPS
    errors: list[float] = np.linalg.norm(found.velocity_mps[hits] - wanted, axis=1)[moving].tolist()
    return errors


def _area(scores: NDArray[Any], hits: NDArray[np.bool_], objects: int) -> float:
    if not hits.any():
        return 0.0
    hits = hits[np.argsort(-scores, kind="stable")]
    true = np.cumsum(hits)
    recall = true / objects
    precision = np.interp(_RECALLS, recall, true / np.arange(1, len(hits) + 1), right=0.0)
    above = np.clip(precision[round((RECALLS - 1) * MIN_RECALL) + 1 :] - MIN_PRECISION, 0.0, None)
    return float(np.mean(above)) / (1.0 - MIN_PRECISION)
