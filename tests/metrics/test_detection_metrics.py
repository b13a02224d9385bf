"""Predictions constructed to have a known AP."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bevformer_lib.detections.types import Detections
from bevformer_lib.errors import BevformerError, ConfigError
from bevformer_lib.metrics.attributes import attribute_of
from bevformer_lib.metrics.detection_metrics import score_agreement, score_scenes
from bevformer_lib.metrics.metric_types import ANNOTATIONS, REFERENCE_MODEL, DetectionMetrics
from bevformer_lib.plain_data import from_plain
from bevformer_lib.scenes.types import Frame, GroundTruthBox, Scene
from tests.support.detections import detections_of
from tests.support.micro import CLASS_NAMES

CAR = GroundTruthBox("car", (0.0, 10.0, -1.0), (2.0, 4.0, 1.5), 0.3, (3.0, 1.0), 9, attribute="vehicle.moving")


def cars(count: int, **changes: object) -> tuple[GroundTruthBox, ...]:
    """Cars 9 m apart on a grid within 36 m, so that no car is near another one."""
    places = [(9.0 * column, 9.0 * row, -1.0) for row in range(-3, 4) for column in range(-3, 4)]
    return tuple(dataclasses.replace(CAR, center_m=place, **changes) for place in places[:count])


def frame(index: int, boxes: Sequence[GroundTruthBox] | None) -> Frame:
    truth = None if boxes is None else tuple(boxes)
    return Frame(index, (), np.zeros((6, 4, 4)), np.zeros(18), truth, Path(f"meta_{index:06d}.json"))


def score(boxes: Sequence[GroundTruthBox], detections: Detections) -> DetectionMetrics:
    return score_scenes([Scene("street", (frame(0, boxes),))], {"street": [detections]}, CLASS_NAMES)


def shifted(boxes: Sequence[GroundTruthBox], meters: float) -> tuple[GroundTruthBox, ...]:
    return tuple(dataclasses.replace(box, center_m=(box.center_m[0] + meters, *box.center_m[1:])) for box in boxes)


def test_all_found() -> None:
    metrics = score(cars(40), detections_of(cars(40)))
    scored = metrics.classes["car"]
    assert scored.ap == pytest.approx(1.0)
    assert (scored.ground_truth, scored.predictions) == (40, 40)
    assert scored.errors.translation == pytest.approx(0.0, abs=1e-6)
    assert scored.errors.attribute == 0.0
    assert metrics.mean_ap == pytest.approx(0.1), "nine of ten classes are not annotated and count 0"
    assert set(metrics.classes_without_truth) == set(CLASS_NAMES) - {"car"}
    assert metrics.scenes["street"].mean_ap == pytest.approx(1.0), "of the one class that is annotated"
    assert metrics.scenes["street"].nds == pytest.approx(1.0, abs=1e-5)


def test_half_found() -> None:
    """Precision 1 up to recall 0.5, then 0: 40 of the 90 bins from 0.11 to 1."""
    metrics = score(cars(40), detections_of(cars(40)[:20]))
    assert metrics.classes["car"].ap == pytest.approx(40 / 90)
    for curve in metrics.classes["car"].curves:
        reached = np.array(metrics.recall_grid) <= 0.5
        np.testing.assert_array_equal(curve.precision, reached.astype(float))
        assert min(np.array(curve.confidence)[reached]) > 0.0


def test_false_boxes_score_best() -> None:
    """After 40 false boxes, precision at the k-th car found is k / (k + 40); nuScenes interpolates between them."""
    false = shifted(cars(40), 4.5)
    scores = [0.9 - 0.001 * number for number in range(40)] + [0.5 - 0.001 * number for number in range(40)]
    metrics = score(cars(49), detections_of((*false, *cars(40)), scores))
    found = np.arange(41)
    precision = np.interp(np.array(metrics.recall_grid) * 49, found, found / (found + 40), right=0.0)
    scored = metrics.classes["car"]
    assert scored.curves[0].precision == pytest.approx(precision.tolist())
    assert scored.ap == pytest.approx(np.clip(precision[11:] - 0.1, 0.0, None).mean() / 0.9)


@pytest.mark.parametrize(
    ("meters", "ap_at_m", "translation"),
    [
        (0.25, {0.5: 1.0, 1.0: 1.0, 2.0: 1.0, 4.0: 1.0}, 0.25),
        (0.75, {0.5: 0.0, 1.0: 1.0, 2.0: 1.0, 4.0: 1.0}, 0.75),
        (1.5, {0.5: 0.0, 1.0: 0.0, 2.0: 1.0, 4.0: 1.0}, 1.5),
        (3.0, {0.5: 0.0, 1.0: 0.0, 2.0: 0.0, 4.0: 1.0}, 1.0),
    ],
)
def test_displaced(meters: float, ap_at_m: dict[float, float], translation: float) -> None:
    """Beyond 2 m nothing matches for the errors, which are 1 then."""
    scored = score(cars(40), detections_of(shifted(cars(40), meters))).classes["car"]
    assert scored.ap_at_m == pytest.approx(ap_at_m)
    assert scored.ap == pytest.approx(sum(ap_at_m.values()) / 4)
    assert scored.errors.translation == pytest.approx(translation, abs=1e-5)


def test_the_other_errors() -> None:
    """Turned by 0.2 rad, half as long, 2 m/s too slow and standing where it moves; NDS by hand."""
    turned = cars(40, yaw_rad=0.5, size_wlh_m=(2.0, 2.0, 1.5), velocity_mps=(0.1, 0.0))
    metrics = score(cars(40), detections_of(turned))
    errors = metrics.classes["car"].errors
    assert errors.orientation == pytest.approx(0.2, abs=1e-5)
    assert errors.scale == pytest.approx(0.5, abs=1e-5)
    assert errors.velocity == pytest.approx(math.hypot(2.9, 1.0), abs=1e-5)
    assert errors.attribute == 1.0
    part = metrics.scenes["street"]
    assert part.nds == pytest.approx((5 * 1.0 + 1.0 + 0.5 + 0.8 + 0.0 + 0.0) / 10, abs=1e-5)
    assert metrics.nds == pytest.approx((5 * 0.1 + 0.1 * (1.0 + 0.5) + 0.8 / 9) / 10, abs=1e-5), (
        "means over ten, ten and nine classes; speed and attribute are past 1 everywhere"
    )


def test_classes_without_some_errors() -> None:
    boxes = (
        dataclasses.replace(CAR, category="barrier"),
        *shifted([dataclasses.replace(CAR, category="traffic_cone")], 5),
    )
    metrics = score(boxes, detections_of(boxes))
    barrier, cone = metrics.classes["barrier"].errors, metrics.classes["traffic_cone"].errors
    assert (barrier.velocity, barrier.attribute, cone.velocity, cone.orientation, cone.attribute) == (None,) * 5
    assert barrier.orientation == pytest.approx(0.0, abs=1e-6)
    assert metrics.scenes["street"].mean_ap == pytest.approx(1.0)
    assert metrics.scenes["street"].nds is None, "no velocity is defined for any of these"


def test_what_does_not_count() -> None:
    """Beyond the class's range (from the car's origin, not the LiDAR), without points, in a bicycle rack."""
    near = dataclasses.replace(CAR, category="pedestrian", center_m=(0.0, 39.5, 0.0), num_lidar_pts=None)
    hidden = dataclasses.replace(CAR, num_lidar_pts=0, num_radar_pts=0)
    seen_by_radar = dataclasses.replace(CAR, center_m=(9.0, 0.0, 0.0), num_lidar_pts=0, num_radar_pts=2)
    racked = dataclasses.replace(CAR, category="bicycle", center_m=(-9.0, 0.0, 0.0))
    rack = dataclasses.replace(CAR, category="bicycle_rack", center_m=(-9.0, 0.5, 0.0), size_wlh_m=(4.0, 4.0, 2.0))
    boxes = (near, hidden, seen_by_radar, racked)
    plain = frame(0, boxes)
    lidar_ahead_of_origin = np.eye(4)
    lidar_ahead_of_origin[1, 3] = 0.94
    counts = []
    for one in (plain, dataclasses.replace(plain, lidar_to_ego=lidar_ahead_of_origin, bicycle_racks=(rack,))):
        metrics = score_scenes([Scene("s", (one,))], {"s": [detections_of(boxes)]}, CLASS_NAMES)
        counts.append({name: scored.ground_truth for name, scored in metrics.classes.items() if scored.ground_truth})
        assert metrics.classes["car"].predictions == 2, "a prediction of a hidden car counts, and is false"
    assert counts == [{"pedestrian": 1, "car": 1, "bicycle": 1}, {"car": 1}]


def test_bands_of_distance() -> None:
    near, far = (dataclasses.replace(CAR, center_m=(0.0, y, 0.0)) for y in (10.0, 40.0))
    metrics = score((near, far), detections_of([near]))
    assert [(band.nearest_m, band.metrics.ground_truth, band.metrics.mean_ap) for band in metrics.bands] == [
        (0.0, 1, pytest.approx(1.0)),
        (20.0, 0, None),
        (35.0, 1, 0.0),
    ]


def test_scenes_apart_and_the_worst_of_them() -> None:
    scenes = [Scene(name, (frame(3, cars(10)), frame(4, None))) for name in ("good", "bad")]
    nothing = detections_of(())
    found = {"good": [detections_of(cars(10)), nothing], "bad": [detections_of(cars(10)[:5]), nothing]}
    metrics = score_scenes(scenes, found, CLASS_NAMES)
    assert metrics.frames == 2, "a frame without annotations is left out"
    assert metrics.scenes["good"].ap == {"car": pytest.approx(1.0)}
    assert metrics.scenes["bad"].ap == {"car": pytest.approx(40 / 90)}
    assert metrics.worst_scene == "bad"
    assert metrics.truth == ANNOTATIONS


def test_nothing_found_at_all() -> None:
    metrics = score(cars(3), detections_of(()))
    assert (metrics.mean_ap, metrics.nds) == (0.0, 0.0)
    assert metrics.predictions == 0


def test_unknown_velocities_are_left_out() -> None:
    slow = cars(20, velocity_mps=(0.0, 0.0), velocity_known=False)
    truth = tuple(box if number % 2 else slow[number] for number, box in enumerate(cars(20)))
    assert score(truth, detections_of(cars(20))).classes["car"].errors.velocity == pytest.approx(0.0, abs=1e-6)


def test_json_and_back() -> None:
    metrics = score(cars(10), detections_of(cars(10)[:4]))
    content = json.loads(json.dumps(metrics.to_dict(), allow_nan=False))
    assert content["NDS"] == metrics.nds
    assert content["mAP"] == metrics.mean_ap
    assert from_plain(DetectionMetrics, content) == metrics


def test_agreement_with_the_float_model() -> None:
    scenes = [Scene("s", (frame(0, None),))]
    reference = detections_of(cars(40), [0.9] * 20 + [0.2] * 20)
    same = score_agreement(scenes, {"s": [reference]}, {"s": [reference]}, CLASS_NAMES, score_threshold=0.0)
    assert same.truth == REFERENCE_MODEL
    assert same.classes["car"].ap == pytest.approx(1.0)
    assert same.classes["car"].errors.attribute == 0.0
    half = detections_of(cars(20)[:10])
    metrics = score_agreement(scenes, {"s": [half]}, {"s": [reference]}, CLASS_NAMES, score_threshold=0.5)
    assert (metrics.ground_truth, metrics.classes["car"].ap) == (20, pytest.approx(40 / 90))


def test_what_cannot_be_scored() -> None:
    with pytest.raises(BevformerError, match="no frame of these scenes has annotations"):
        score_scenes([Scene("s", (frame(0, None),))], {"s": [detections_of(())]}, CLASS_NAMES)
    with pytest.raises(BevformerError, match="scene s has 1 frames and 0 of detections"):
        score_scenes([Scene("s", (frame(0, cars(1)),))], {}, CLASS_NAMES)
    with pytest.raises(ConfigError, match="has no class tram"):
        score_scenes([Scene("s", (frame(0, cars(1)),))], {"s": [detections_of(())]}, ("car", "tram"))
    with pytest.raises(ConfigError, match=r"meta_000000\.json: boxes of class tram"):
        score([dataclasses.replace(CAR, category="tram")], detections_of(()))


def test_the_devkit_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("nuscenes", "pyquaternion"):
        monkeypatch.setitem(sys.modules, package, None)
    assert score(cars(40), detections_of(cars(40))).classes["car"].ap == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("category", "slow", "fast"),
    [
        ("car", "vehicle.parked", "vehicle.moving"),
        ("bus", "vehicle.stopped", "vehicle.moving"),
        ("bicycle", "cycle.without_rider", "cycle.with_rider"),
        ("pedestrian", "pedestrian.standing", "pedestrian.moving"),
        ("barrier", "", ""),
        ("traffic_cone", "", ""),
    ],
)
def test_attributes_by_speed(category: str, slow: str, fast: str) -> None:
    assert (attribute_of(category, 0.2), attribute_of(category, 0.21)) == (slow, fast)
