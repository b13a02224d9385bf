from __future__ import annotations

import time

import numpy as np
import pytest

from bevformer_lib.detections.matching import agreement_of, compare_with_truth, match_boxes
from bevformer_lib.detections.types import ClassCounts, Detections
from bevformer_lib.scenes.types import GroundTruthBox

CLASSES = ("car", "pedestrian", "bus")
PC_RANGE = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)


def detections(*boxes: tuple[float, float, int, float]) -> Detections:
    """Each box: x, y, label, score."""
    values = np.zeros((len(boxes), 9), np.float32)
    values[:, :2] = np.array([box[:2] for box in boxes]).reshape(-1, 2)
    return Detections(
        boxes=values,
        scores=np.array([box[3] for box in boxes], np.float32),
        labels=np.array([box[2] for box in boxes], np.int64),
    )


def annotation(x: float, y: float, category: str, num_lidar_pts: int | None = 5) -> GroundTruthBox:
    return GroundTruthBox(category, (x, y, 0.0), (2.0, 4.0, 1.5), 0.0, (0.0, 0.0), num_lidar_pts)


def matched_pairs(first: Detections, second: Detections, **options: float) -> list[tuple[int, int]]:
    matches = match_boxes(first.boxes[:, :2], first.labels, second.boxes[:, :2], second.labels, **options)
    return list(zip(matches.first.tolist(), matches.second.tolist(), strict=True))


def test_better_scores_choose_first_and_nearest() -> None:
    first = detections((0.0, 0.0, 0, 0.9), (0.2, 0.0, 0, 0.8))
    second = detections((1.5, 0.0, 0, 0.5), (0.3, 0.0, 0, 0.5))
    assert matched_pairs(first, second) == [(0, 1), (1, 0)]


def test_only_within_a_class_and_nearer_than_the_limit() -> None:
    first = detections((0.0, 0.0, 0, 0.9))
    assert matched_pairs(first, detections((0.1, 0.0, 1, 0.9))) == []
    assert matched_pairs(first, detections((2.0, 0.0, 0, 0.9))) == []
    assert matched_pairs(first, detections((1.99, 0.0, 0, 0.9))) == [(0, 0)]
    assert matched_pairs(first, detections((1.99, 0.0, 0, 0.9)), max_distance_m=1.0) == []


def test_no_box_is_in_two_pairs() -> None:
    first = detections(*[(0.0, 0.1 * i, 0, 0.9 - 0.1 * i) for i in range(4)])
    second = detections((0.0, 0.0, 0, 0.5), (0.0, 0.1, 0, 0.5))
    assert matched_pairs(first, second) == [(0, 0), (1, 1)]


def test_agreement() -> None:
    reference = detections((0.0, 0.0, 0, 0.9), (10.0, 0.0, 1, 0.5), (20.0, 0.0, 0, 0.25))
    candidate = detections((0.0, 1.0, 0, 0.75), (10.0, 0.5, 1, 0.75))
    agreement = agreement_of(reference, candidate)
    assert (agreement.reference_boxes, agreement.candidate_boxes, agreement.matched) == (3, 2, 2)
    assert agreement.reference_matched_share == pytest.approx(2 / 3)
    assert agreement.candidate_matched_share == 1.0
    assert agreement.mean_center_distance_m == pytest.approx(0.75)
    assert agreement.mean_score_difference == pytest.approx((0.15 + 0.25) / 2)


def test_agreement_without_boxes_is_defined() -> None:
    nothing, one = detections(), detections((0.0, 0.0, 0, 0.9))
    assert agreement_of(nothing, nothing).reference_matched_share is None
    assert agreement_of(nothing, nothing).mean_center_distance_m is None
    assert agreement_of(one, nothing).reference_matched_share == 0.0
    assert agreement_of(nothing, one).candidate_matched_share == 0.0


def test_truth_counts_per_class() -> None:
    truth = [
        annotation(0, 0, "car"),
        annotation(20, 0, "car"),
        annotation(5, 5, "pedestrian", num_lidar_pts=None),
    ]
    reference = detections((0.5, 0, 0, 0.9), (0.6, 0, 0, 0.8), (5, 5, 1, 0.7), (9, 9, 2, 0.6))
    compared = compare_with_truth(reference, detections(), truth, CLASSES, PC_RANGE)
    assert compared.reference == {
        "car": ClassCounts(annotated=2, detected=2, matched=1),
        "pedestrian": ClassCounts(annotated=1, detected=1, matched=1),
        "bus": ClassCounts(annotated=0, detected=1, matched=0),
    }
    assert compared.candidate["car"] == ClassCounts(annotated=2, detected=0, matched=0)
    assert "bus" not in compared.candidate
    car, bus = compared.reference["car"], compared.reference["bus"]
    assert (car.precision, car.recall, car.f1) == (0.5, 0.5, 0.5)
    assert (bus.precision, bus.recall, bus.f1) == (0.0, None, 0.0)
    assert compared.candidate["car"].precision is None


def test_annotations_that_cannot_be_found_do_not_count() -> None:
    truth = [
        annotation(0, 0, "car", num_lidar_pts=0),
        annotation(60, 0, "car"),
        annotation(0, -51.3, "car"),
        annotation(0, 0, "animal"),
        annotation(51.2, -51.2, "car"),
    ]
    compared = compare_with_truth(detections(), detections(), truth, CLASSES, PC_RANGE)
    assert compared.candidate == {"car": ClassCounts(annotated=1, detected=0, matched=0)}


def test_frame_without_boxes_or_annotations() -> None:
    compared = compare_with_truth(detections(), detections(), [], CLASSES, PC_RANGE)
    assert compared.reference == {} and compared.candidate == {}


def test_equals_a_plain_loop_on_random_boxes() -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        first, second = (
            detections(*[(*random.uniform(-8, 8, 2), random.integers(3), 1 - i / 100) for i in range(count)])
            for count in random.integers(0, 60, 2)
        )
        free = set(range(len(second.scores)))
        expected = []
        for i in range(len(first.scores)):
            near = [
                (float(np.hypot(*(first.boxes[i, :2].astype(float) - second.boxes[j, :2]))), j)
                for j in sorted(free)
                if first.labels[i] == second.labels[j]
            ]
            if near and min(near)[0] < 2.0:
                expected.append((i, min(near)[1]))
                free.remove(min(near)[1])
        assert matched_pairs(first, second) == expected


def test_a_full_frame_takes_milliseconds() -> None:
    random = np.random.default_rng(4)
    full = detections(*[(*random.uniform(-50, 50, 2), i % 3, 1 - i / 1000) for i in range(300)])
    agreement_of(full, full)
    started = time.perf_counter()
    for _ in range(20):
        assert agreement_of(full, full).matched == 300
    assert (time.perf_counter() - started) / 20 < 0.05
