"""Every figure against nuscenes-devkit's own functions, on random boxes."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("nuscenes", reason="nuscenes-devkit is not installed; make test installs it")

from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.loaders import add_center_dist, filter_eval_boxes
from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES, TP_METRICS
from nuscenes.eval.detection.data_classes import DetectionBox
from nuscenes.eval.detection.data_classes import DetectionMetrics as DevkitMetrics

from bevformer_lib.metrics.constants import (
    CLASS_NAMES,
    CLASS_RANGES_M,
    ERROR_DISTANCE_M,
    MATCH_DISTANCES_M,
    MEAN_AP_WEIGHT,
    MIN_PRECISION,
    MIN_RECALL,
    UNDEFINED_ERRORS,
)
from bevformer_lib.metrics.detection_metrics import score_boxes
from bevformer_lib.metrics.metric_types import ANNOTATIONS, ERROR_NAMES

Records = dict[str, list[dict[str, Any]]]
CONFIG = config_factory("detection_cvpr_2019")


class Tables:
    """Samples, poses off the origin, and one tilted bicycle rack per frame."""

    def __init__(self, frames: int) -> None:
        rack = {"translation": [104.0, 53.0, 0.0], "size": [6.0, 12.0, 4.0], "rotation": [0.9, 0.05, 0.1, 0.4]}
        self.records: dict[tuple[str, str], dict[str, Any]] = {}
        for token in map(str, range(frames)):
            self.records["sample", token] = {"data": {"LIDAR_TOP": token}, "anns": [token]}
            self.records["sample_data", token] = {"ego_pose_token": token}
            self.records["ego_pose", token] = {"translation": [100.0, 50.0, 1.0]}
            self.records["sample_annotation", token] = {**rack, "category_name": "static_object.bicycle_rack"}

    def get(self, table: str, token: str) -> dict[str, Any]:
        return self.records[table, token]


def random_records(
    generator: np.random.Generator, frames: int, per_frame: int, classes: tuple[str, ...], *, grid_m: float | None
) -> Records:
    """Boxes around the car; on a grid, places and scores tie."""

    def record(token: str) -> dict[str, Any]:
        place = generator.normal(0.0, 18.0, 3) * (1.0, 1.0, 0.05)
        score = generator.uniform(0.01, 1.0)
        if grid_m is not None:
            place, score = np.round(place / grid_m) * grid_m, round(score, 1) + 0.05
        attribute = generator.choice(["", *ATTRIBUTE_NAMES[:3]])
        return {
            "sample_token": token,
            "translation": (place + np.array([100.0, 50.0, 0.0])).tolist(),
            "size": generator.uniform(0.4, 5.0, 3).tolist(),
            "rotation": generator.normal(0.0, 1.0, 4).tolist(),
            "velocity": [math.nan] * 2 if generator.random() < 0.2 else generator.normal(0.0, 3.0, 2).tolist(),
            "num_pts": int(generator.integers(-1, 4)),
            "detection_name": str(generator.choice(classes)),
            "detection_score": float(score),
            "attribute_name": str(attribute),
        }

    return {str(token): [record(str(token)) for _ in range(per_frame)] for token in range(frames)}


def by_the_devkit(truth: Records, found: Records, tables: Tables) -> tuple[Any, dict[tuple[str, float], Any]]:
    wanted, given = (EvalBoxes.deserialize(copy.deepcopy(records), DetectionBox) for records in (truth, found))
    for boxes in (wanted, given):
        add_center_dist(tables, boxes)
        if boxes.all:
            filter_eval_boxes(tables, boxes, CONFIG.class_range)
    total, curves = DevkitMetrics(CONFIG), {}
    for name in CONFIG.class_names:
        for distance in CONFIG.dist_ths:
            curve = accumulate(wanted, given, name, CONFIG.dist_fcn_callable, distance)
            curves[name, distance] = curve
            total.add_label_ap(name, distance, calc_ap(curve, CONFIG.min_recall, CONFIG.min_precision))
        for error, metric_name in zip(ERROR_NAMES, TP_METRICS, strict=True):
            value = calc_tp(curves[name, CONFIG.dist_th_tp], CONFIG.min_recall, metric_name)
            total.add_label_tp(name, metric_name, math.nan if error in UNDEFINED_ERRORS.get(name, ()) else value)
    return total, curves


def assert_equal(truth: Records, found: Records) -> float:
    tables = Tables(len(truth))
    theirs, curves = by_the_devkit(truth, found, tables)
    ours = score_boxes(truth, found, tables, {token: f"scene {int(token) % 2}" for token in truth}, truth=ANNOTATIONS)
    assert ours.nds == pytest.approx(theirs.nd_score, abs=1e-9)
    assert ours.mean_ap == pytest.approx(theirs.mean_ap, abs=1e-9)
    for (name, distance), curve in curves.items():
        scored = ours.classes[name]
        assert scored.ap_at_m[distance] == pytest.approx(theirs.get_label_ap(name, distance), abs=1e-9)
        (own,) = (one for one in scored.curves if one.match_distance_m == distance)
        np.testing.assert_allclose(own.precision, curve.precision, atol=1e-12)
        np.testing.assert_allclose(own.confidence, curve.confidence, atol=1e-12)
    for name, scored in ours.classes.items():
        for error, metric_name in zip(ERROR_NAMES, TP_METRICS, strict=True):
            value, expected = getattr(scored.errors, error), theirs.get_label_tp(name, metric_name)
            if value is None:
                assert not math.isfinite(expected)
            else:
                assert value == pytest.approx(expected, abs=1e-9), (name, error)
    return ours.mean_ap


@pytest.mark.parametrize("grid_m", [None, 1.0, 0.5])
@pytest.mark.parametrize("seed", range(6))
def test_random_boxes(seed: int, grid_m: float | None) -> None:
    generator = np.random.default_rng(seed)
    classes = CLASS_NAMES if seed % 2 else ("car", "barrier", "bicycle", "traffic_cone")
    truth = random_records(generator, 4, 60, classes, grid_m=grid_m)
    found = random_records(generator, 4, 90, CLASS_NAMES[seed % 3 :], grid_m=grid_m)
    for token, records in found.items():
        near = copy.deepcopy(truth[token][:45])
        for record in near:
            place = np.array(record["translation"]) + (generator.normal(0.0, 0.8, 3) if grid_m is None else 0.0)
            record.update(translation=place.tolist(), detection_score=round(generator.uniform(0.1, 1.0), 1), num_pts=-1)
        records[:] = [*records, *near]
    assert assert_equal(truth, found) > 0.02, "something is found, so that the comparison says something"


def test_nothing_found_and_nothing_annotated() -> None:
    generator = np.random.default_rng(0)
    some = random_records(generator, 2, 20, CLASS_NAMES, grid_m=None)
    nothing: Records = {token: [] for token in some}
    assert assert_equal(some, nothing) == 0.0
    assert assert_equal(nothing, some) == 0.0


def test_the_constants_are_the_devkits() -> None:
    assert dict(CLASS_RANGES_M) == dict(CONFIG.class_range)
    assert list(MATCH_DISTANCES_M) == CONFIG.dist_ths
    assert (
        CONFIG.dist_th_tp,
        CONFIG.min_recall,
        CONFIG.min_precision,
        CONFIG.mean_ap_weight,
    ) == (ERROR_DISTANCE_M, MIN_RECALL, MIN_PRECISION, MEAN_AP_WEIGHT)
