from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nuscenes", reason="nuscenes-devkit is not installed; make test installs it")

from bevformer_lib.calibration.coverage import CalibrationCoverage, QuantityCoverage
from bevformer_lib.evaluate.score_shift import ScoreShift as MeasuredShift
from bevformer_lib.evaluate.tensors import TensorSummary
from bevformer_lib.metrics.detection_metrics import score_agreement, score_scenes
from bevformer_lib.report.measures import coverage_section, metric_section, score_shift_rows, tensor_rows
from bevformer_lib.report.sections import CoverageQuantity, CoverageSection, Score, ScoreShift, TensorFidelity
from bevformer_lib.scenes.types import Frame, GroundTruthBox, Scene
from tests.support.detections import detections_of
from tests.support.micro import CLASS_NAMES

CARS = tuple(
    GroundTruthBox("car", (9.0 * place, 10.0, -1.0), (2.0, 4.0, 1.5), 0.3, (3.0, 1.0), attribute="vehicle.moving")
    for place in (-2, -1, 0, 1)
)
SCENES = [Scene("street", (Frame(0, (), np.zeros((6, 4, 4)), np.zeros(18), CARS, Path("meta")),))]


def test_metrics_of_both_models() -> None:
    whole, half = (score_scenes(SCENES, {"street": [detections_of(cars)]}, CLASS_NAMES) for cars in (CARS, CARS[:2]))
    section = metric_section(whole, half)
    assert section.measured_against == "Scored against the annotations of 1 frames, as nuscenes-devkit does."
    headline = {score.name: score for score in section.headline}
    assert headline["mAP"] == Score("mAP", pytest.approx(0.1), pytest.approx(0.1 * 40 / 90))
    assert headline["NDS"].got_worse
    assert (headline["mAVE"].unit, headline["mAVE"].higher_is_better) == ("m/s", False)
    assert section.by_class is not None
    assert [score.name for score in section.by_class.scores] == ["car"], "classes that are annotated"
    by_distance, by_scene = section.breakdowns
    assert [(score.name, score.reference) for score in by_distance.scores] == [
        ("0 to 20 m", pytest.approx(1.0)),
        ("20 to 35 m", pytest.approx(1.0)),
        ("35 to 50 m", None),
    ]
    assert by_scene.scores == [Score("street", pytest.approx(1.0), pytest.approx(40 / 90))]
    (curve,) = section.curves or ()
    assert curve.reference[-1] == (1.0, 1.0)
    assert curve.candidate[-1] == (0.5, 1.0), "as far as the class was found"


def test_a_proxy_is_named_as_one() -> None:
    found = {"street": [detections_of(CARS)]}
    same = score_agreement(SCENES, found, found, CLASS_NAMES, score_threshold=0.0)
    assert "proxy" in metric_section(same, same).measured_against


def test_rows() -> None:
    summary = TensorSummary("fpn.level0", 8, 0, 0.999, 0.99, 0.04, 0.3, 28.0, "a")
    assert tensor_rows([summary]) == (TensorFidelity("fpn.level0", 0.999, 0.04, 0.3, 28.0),)
    shifts = [MeasuredShift("car", 5, -0.1, 0.12, -0.3), MeasuredShift("bus", 0, None, None, None)]
    assert score_shift_rows(shifts) == (ScoreShift("car", 5, -0.1, 0.3),)
    coverage = CalibrationCoverage(2, 8, 1, 2, (QuantityCoverage("Ego speed", "m/s", (8.0,), (8.0, 9.0)),))
    assert coverage_section(coverage) == CoverageSection(
        1, 2, [CoverageQuantity("Ego speed", "m/s", (8.0,), (8.0, 9.0))]
    )
