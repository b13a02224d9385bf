"""Which boxes are the same object: by class and by the distance of their centres, as nuScenes does it.

By falling score, a box takes the nearest box of its class that is still free and nearer than the limit;
distances are taken in the ground plane (nuscenes-devkit, ``eval/detection/algo.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.detections.geometry import ground_truth_as_detection_boxes
from bevformer_lib.detections.types import Agreement, ClassCounts, Detections, TruthComparison
from bevformer_lib.scenes.types import GroundTruthBox

MATCH_DISTANCE_M: Final = 2.0
"""The distance that nuScenes uses for its true-positive metrics."""


@dataclass(frozen=True)
class Matches:
    """Pairs of boxes, in the order of the first one's score.

    Attributes:
        first: (m,) indices of the boxes that looked for a partner.
        second: (m,) indices of their partners; no index occurs twice.
        distances_m: (m,) between the centres, in the ground plane.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distances_m: NDArray[np.float64]


def match_boxes(
    centers_m: NDArray[Any],
    labels: NDArray[np.int64],
    other_centers_m: NDArray[Any],
    other_labels: NDArray[np.int64],
    *,
    max_distance_m: float = MATCH_DISTANCE_M,
) -> Matches:
    """Pair boxes greedily.

    Args:
        centers_m: (n, 2) ground-plane centres, best score first.
        labels: (n,) classes.
        other_centers_m: (k, 2) centres of the boxes to find.
        other_labels: (k,) their classes.
        max_distance_m: centres must be nearer than this.
    """
    offsets = centers_m[:, None, :].astype(np.float64) - other_centers_m[None, :, :].astype(np.float64)
    distances = np.hypot(offsets[..., 0], offsets[..., 1])
    possible = (labels[:, None] == other_labels[None, :]) & (distances < max_distance_m)
    distances[~possible] = np.inf
    pairs: list[tuple[int, int, float]] = []
    for first in np.flatnonzero(possible.any(axis=1)).tolist():
        second = int(distances[first].argmin())
        distance = float(distances[first, second])
        if distance < np.inf:
            pairs.append((first, second, distance))
            distances[:, second] = np.inf
    return Matches(
        first=np.array([pair[0] for pair in pairs], dtype=np.int64),
        second=np.array([pair[1] for pair in pairs], dtype=np.int64),
        distances_m=np.array([pair[2] for pair in pairs], dtype=np.float64),
    )


def agreement_of(
    reference: Detections, candidate: Detections, *, max_distance_m: float = MATCH_DISTANCE_M
) -> Agreement:
    """Match the candidate's boxes, best score first, with the reference's."""
    matches = match_boxes(
        candidate.boxes[:, :2],
        candidate.labels,
        reference.boxes[:, :2],
        reference.labels,
        max_distance_m=max_distance_m,
    )
    score_differences = candidate.scores[matches.first] - reference.scores[matches.second]
    return Agreement(
        reference_boxes=len(reference.scores),
        candidate_boxes=len(candidate.scores),
        matched=len(matches.first),
        center_distance_sum_m=float(matches.distances_m.sum()),
        score_difference_sum=float(np.abs(score_differences.astype(np.float64)).sum()),
    )


def compare_with_truth(
    reference: Detections,
    candidate: Detections,
    ground_truth: Sequence[GroundTruthBox],
    class_names: Sequence[str],
    pc_range: Sequence[float],
    *,
    max_distance_m: float = MATCH_DISTANCE_M,
) -> TruthComparison:
    """Count what both models found of a frame's annotations.

    An annotation counts when its class is one of ``class_names``, it is not known to hold no LiDAR point
    (as in nuScenes' metric), and its centre lies in the x, y range that the detection head can reach.

    Args:
        reference: boxes of the reference.
        candidate: boxes of the candidate.
        ground_truth: all annotations of the frame.
        class_names: in the order of the labels.
        pc_range: x, y, z lower and upper bounds of the detection head, m, LiDAR frame.
        max_distance_m: centres must be nearer than this.
    """
    counted = [box for box in ground_truth if _counts(box, class_names, pc_range)]
    return TruthComparison(
        reference=_class_counts(reference, counted, class_names, max_distance_m),
        candidate=_class_counts(candidate, counted, class_names, max_distance_m),
    )


def _counts(box: GroundTruthBox, class_names: Sequence[str], pc_range: Sequence[float]) -> bool:
    x, y, _ = box.center_m
    reachable = pc_range[0] <= x <= pc_range[3] and pc_range[1] <= y <= pc_range[4]
    return reachable and box.category in class_names and box.num_lidar_pts != 0


def _class_counts(
    detections: Detections,
    ground_truth: Sequence[GroundTruthBox],
    class_names: Sequence[str],
    max_distance_m: float,
) -> Mapping[str, ClassCounts]:
    labels = np.array([class_names.index(box.category) for box in ground_truth], dtype=np.int64)
    matches = match_boxes(
        detections.boxes[:, :2],
        detections.labels,
        ground_truth_as_detection_boxes(ground_truth)[:, :2],
        labels,
        max_distance_m=max_distance_m,
    )
    size = len(class_names)
    annotated = np.bincount(labels, minlength=size)
    detected = np.bincount(detections.labels, minlength=size)
    matched = np.bincount(detections.labels[matches.first], minlength=size)
    return {
        name: ClassCounts(annotated=int(annotated[label]), detected=int(detected[label]), matched=int(matched[label]))
        for label, name in enumerate(class_names)
        if annotated[label] or detected[label]
    }
