"""Every metric that gates can ask for, gathered from what a build found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bevformer_lib.calibration.coverage import CalibrationCoverage, QuantityCoverage
from bevformer_lib.evaluate.diagnosis import DIAGNOSES, Diagnosis
from bevformer_lib.evaluate.finding import Finding
from bevformer_lib.gates.metrics import BuildMetrics, Metric, gather, metric_names
from bevformer_lib.metrics.detection_metrics import score_agreement, score_scenes
from bevformer_lib.metrics.metric_types import DetectionMetrics
from bevformer_lib.plain_data import from_plain, to_plain
from bevformer_lib.scenes.types import Frame, GroundTruthBox, Scene
from tests.evaluate.examples import make_scene
from tests.support.detections import detections_of
from tests.support.micro import CLASS_NAMES

COVERAGE = CalibrationCoverage(
    samples=2,
    frames=4,
    scenes_sampled=1,
    scenes_total=2,
    quantities=(QuantityCoverage("Ego speed", "m/s", (1.0, 2.0), (0.0, 1.0, 2.0, 3.0)),),
)
DIAGNOSIS = Diagnosis({name: Finding(None, "no scene has a second frame") for name in DIAGNOSES})


def gathered(metrics: tuple[DetectionMetrics, DetectionMetrics] | str, *, truth: bool = True) -> dict[str, Metric]:
    return gather([make_scene("a", 3, truth=truth), make_scene("b", 5, truth=truth)], metrics, COVERAGE, DIAGNOSIS)


def test_every_name_has_its_value() -> None:
    found = gathered("no devkit")
    assert tuple(found) == metric_names(CLASS_NAMES)
    silent = {name for name, metric in found.items() if metric.value is None}
    assert all(found[name].note for name in silent)
    assert {"metrics.mAP", "proxy.NDS", "coverage.brightness", "diagnosis.prev_bev"} <= silent
    assert found["metrics.mAP"].note == "no devkit"
    build = BuildMetrics("micro", {"a": "1"}, found)
    assert from_plain(BuildMetrics, json.loads(json.dumps(to_plain(build)))) == build


def test_values_with_their_scenes() -> None:
    found = gathered("no devkit")
    cosine = found["fidelity.bev_embed.cosine"]
    assert cosine.scenes.keys() == {"a", "b"}
    assert cosine.scenes["a"] > cosine.value > cosine.scenes["b"]  # the error grows along a scene, and b is longer
    assert found["drift.bev_embed"].value > 1.0
    assert found["latency.p95_ms"].value == pytest.approx(300.0)
    assert found["latency.p95_ms"].reference > 400.0
    assert found["metrics.recall.car"].value == pytest.approx(0.75)
    assert found["metrics.recall"].value == pytest.approx(4 / 6)
    assert found["metrics.recall.bus"].value is None
    assert (found["coverage.ego_speed"].value, found["coverage.scenes"].value) == (0.5, 0.5)


def test_without_annotations_there_is_no_recall() -> None:
    assert "no annotations" in gathered("x", truth=False)["metrics.recall.car"].note


@pytest.mark.parametrize("annotated", [True, False])
def test_the_proxy_goes_by_its_own_name(annotated: bool) -> None:
    boxes = tuple(GroundTruthBox("car", (5.0 * n, 5.0, -1.0), (2.0, 4.0, 1.5), 0.3, (3.0, 1.0), 9) for n in range(4))
    frame = Frame(0, (), np.zeros((6, 4, 4)), np.zeros(18), boxes if annotated else None, Path("meta_000000.json"))
    scenes = [Scene("a", (frame,))]
    float_boxes, found_boxes = {"a": [detections_of(boxes)]}, {"a": [detections_of(boxes[:2])]}
    if annotated:
        scored = [score_scenes(scenes, found, CLASS_NAMES) for found in (float_boxes, found_boxes)]
    else:
        scored = [
            score_agreement(scenes, found, float_boxes, CLASS_NAMES, score_threshold=0.3)
            for found in (float_boxes, found_boxes)
        ]
    found = gathered((scored[0], scored[1]), truth=annotated)
    kind, other = ("metrics", "proxy") if annotated else ("proxy", "metrics")
    assert found[f"{kind}.mAP"].reference == pytest.approx(0.1)
    assert 0.0 < found[f"{kind}.mAP"].value < 0.06
    assert found[f"{kind}.mAP"].scenes.keys() == {"a"}
    assert found[f"{other}.mAP"].value is None
    assert "annotations" in found[f"{other}.mAP"].note
    assert (found["metrics.ap.car"].value is not None) == annotated
