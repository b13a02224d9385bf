"""Our scores against nuscenes-devkit's own evaluator."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("nuscenes", reason="nuscenes-devkit is not installed; make test installs it")

from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection.constants import TP_METRICS
from nuscenes.eval.detection.evaluate import DetectionEval
from pyquaternion import Quaternion

from bevformer_lib.detections.types import Detections
from bevformer_lib.errors import BevformerError
from bevformer_lib.metrics.detection_metrics import score_scenes
from bevformer_lib.metrics.metric_types import DetectionMetrics
from bevformer_lib.metrics.nuscenes_results import check_split, results_of, score_results, write_results
from bevformer_lib.nuscenes.devkit import open_dataset
from bevformer_lib.scenes.types import Scene
from tests.support.detections import detections_of, spoilt_scenes
from tests.support.micro import CLASS_NAMES
from tests.support.nuscenes import SPLIT, VERSION


def by_token(scenes: tuple[Scene, ...], found: dict[str, list[Detections]]) -> list[tuple[str, Detections]]:
    return [
        (frame.sample_token or "", detections)
        for scene in scenes
        for frame, detections in zip(scene.frames, found[scene.name], strict=True)
    ]


def official(dataset: Any, results: dict[str, Any], folder: Path) -> Any:
    write_results(folder / "results.json", results)
    config = config_factory("detection_cvpr_2019")
    evaluator = DetectionEval(dataset, config, str(folder / "results.json"), SPLIT, str(folder / "out"), verbose=False)
    return evaluator.evaluate()


def assert_same(ours: DetectionMetrics, theirs: Any, tolerance: float) -> None:
    assert ours.nds == pytest.approx(theirs.nd_score, abs=tolerance)
    assert ours.mean_ap == pytest.approx(theirs.mean_ap, abs=tolerance)
    for name, metrics in ours.classes.items():
        errors = metrics.errors
        values = (errors.translation, errors.scale, errors.orientation, errors.velocity, errors.attribute)
        for metric_name, value in zip(TP_METRICS, values, strict=True):
            expected = theirs.get_label_tp(name, metric_name)
            assert (value is None) == math.isnan(expected), (name, metric_name)
            assert value is None or value == pytest.approx(expected, abs=tolerance), (name, metric_name)
        for distance, ap in metrics.ap_at_m.items():
            assert ap == pytest.approx(theirs.get_label_ap(name, distance), abs=tolerance), (name, distance)


@pytest.mark.parametrize("seed", range(3))
def test_the_official_evaluator_says_the_same(
    dataset: Any, scenes: tuple[Scene, ...], tmp_path: Path, seed: int
) -> None:
    results = results_of(dataset, by_token(scenes, spoilt_scenes(scenes, seed=seed)), CLASS_NAMES)
    check_split(dataset, results, SPLIT)
    ours = score_results(dataset, results)
    theirs, curves = official(dataset, results, tmp_path)
    assert 0.2 < ours.mean_ap < 0.8, "neither perfect nor hopeless, so that the comparison says something"
    assert_same(ours, theirs, 1e-9)
    for name, metrics in ours.classes.items():
        for curve in metrics.curves:
            expected = curves[(name, curve.match_distance_m)]
            np.testing.assert_allclose(curve.precision, expected.precision, atol=1e-12)
            np.testing.assert_allclose(ours.recall_grid, expected.recall, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_annotations_in_the_metas_say_the_same(
    dataset: Any, scenes: tuple[Scene, ...], tmp_path: Path, seed: int
) -> None:
    """Without the database, on tilted ground too: nothing that the metas leave out is lost."""
    found = spoilt_scenes(scenes, seed=seed)
    ours = score_scenes(scenes, found, CLASS_NAMES)
    theirs, _ = official(dataset, results_of(dataset, by_token(scenes, found), CLASS_NAMES), tmp_path)
    assert_same(ours, theirs, 1e-9)


def test_both_ways_agree_on_every_part(dataset: Any, scenes: tuple[Scene, ...]) -> None:
    found = spoilt_scenes(scenes, seed=4)
    from_database = score_results(dataset, results_of(dataset, by_token(scenes, found), CLASS_NAMES))
    from_metas = score_scenes(scenes, found, CLASS_NAMES)
    for name in from_database.scenes:
        assert from_metas.scenes[name].nds == pytest.approx(from_database.scenes[name].nds, abs=1e-9)
        assert from_metas.scenes[name].ap == pytest.approx(from_database.scenes[name].ap, abs=1e-9)
    for ours, theirs in zip(from_metas.bands, from_database.bands, strict=True):
        assert ours.metrics.mean_ap == pytest.approx(theirs.metrics.mean_ap, abs=1e-9)
        assert (ours.metrics.ground_truth, ours.metrics.predictions) == (
            theirs.metrics.ground_truth,
            theirs.metrics.predictions,
        )


def test_the_annotations_themselves_are_perfect(dataset: Any, scenes: tuple[Scene, ...]) -> None:
    perfect = {
        scene.name: [
            detections_of([box for box in frame.gt_boxes or () if box.num_lidar_pts]) for frame in scene.frames
        ]
        for scene in scenes
    }
    metrics = score_results(dataset, results_of(dataset, by_token(scenes, perfect), CLASS_NAMES))
    assert metrics.classes_without_truth == ()
    assert metrics.mean_ap == pytest.approx(1.0)
    assert metrics.errors.translation == pytest.approx(0.0, abs=1e-5)
    assert metrics.errors.orientation == pytest.approx(0.0, abs=1e-3)
    assert metrics.errors.velocity == pytest.approx(0.0, abs=5e-3), "a velocity is level in a tilted LiDAR frame"
    assert metrics.errors.attribute == pytest.approx(0.0), "the rule guesses all of these attributes"
    assert metrics.nds == pytest.approx(1.0, abs=1e-3)


def test_the_results_file(dataset: Any, scenes: tuple[Scene, ...], tmp_path: Path) -> None:
    """The first annotation of the straight scene's first frame: a car 25 m ahead of the LiDAR, at 10 m/s."""
    frame = scenes[0].frames[0]
    boxes = frame.gt_boxes or ()
    results = results_of(dataset, [(frame.sample_token or "", detections_of(boxes[:1]))], CLASS_NAMES)
    write_results(tmp_path / "results.json", results)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["meta"]["use_camera"] is True
    assert not any(content["meta"][key] for key in ("use_lidar", "use_radar", "use_map"))
    assert content["meta"]["use_external"] is True, "as the original's configs say of themselves"
    (box,) = content["results"][frame.sample_token]
    assert box["sample_token"] == frame.sample_token
    assert box["translation"] == pytest.approx([525.9, 1000.0, 1.8], abs=1e-4)
    assert box["size"] == pytest.approx([2.0, 4.5, 1.6])
    assert Quaternion(box["rotation"]).yaw_pitch_roll[0] == pytest.approx(0.0, abs=1e-6)
    assert box["velocity"] == pytest.approx([10.0, 0.0], abs=1e-5)
    assert (box["detection_name"], box["attribute_name"]) == ("car", "vehicle.moving")
    assert box["detection_score"] == pytest.approx(0.9)


def test_results_of_part_of_a_split_are_no_submission(dataset: Any, scenes: tuple[Scene, ...]) -> None:
    results = results_of(dataset, by_token(scenes[:1], spoilt_scenes(scenes[:1])), CLASS_NAMES)
    with pytest.raises(BevformerError, match="lack 4 samples"):
        check_split(dataset, results, SPLIT)
    results["results"] |= {"elsewhere": []} | {
        frame.sample_token: [] for scene in scenes for frame in scene.frames if frame.sample_token
    }
    with pytest.raises(BevformerError, match="not in the split are 1 samples, such as elsewhere"):
        check_split(dataset, results, SPLIT)
    with pytest.raises(BevformerError, match=r"sample elsewhere is not in .*v1\.0-mini"):
        results_of(dataset, [("elsewhere", detections_of(()))], CLASS_NAMES)


def test_without_annotations_there_is_no_score(nuscenes_root: Path, scenes: tuple[Scene, ...]) -> None:
    blind = open_dataset(nuscenes_root, VERSION)
    blind.sample_annotation = []
    with pytest.raises(BevformerError, match="has no annotations; submit the results file"):
        score_results(blind, results_of(blind, by_token(scenes, spoilt_scenes(scenes)), CLASS_NAMES))
