from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bevformer_lib.metrics.detection_metrics import score_agreement, score_scenes
from bevformer_lib.report.page import all_sections, render_report
from bevformer_lib.report.sections.metrics import Score, curve_points
from bevformer_lib.scenes.types import Frame, GroundTruthBox, Scene
from tests.report.examples import bare_content
from tests.support.detections import detections_of
from tests.support.micro import CLASS_NAMES

CARS = tuple(
    GroundTruthBox("car", (9.0 * place, 10.0, -1.0), (2.0, 4.0, 1.5), 0.3, (3.0, 1.0), attribute="vehicle.moving")
    for place in (-2, -1, 0, 1)
)
SCENES = [Scene("street", (Frame(0, (), np.zeros((6, 4, 4)), np.zeros(18), CARS, Path("meta")),))]


def test_metrics_of_both_models() -> None:
    both = [score_scenes(SCENES, {"street": [detections_of(cars)]}, CLASS_NAMES) for cars in (CARS, CARS[:2])]
    content = dataclasses.replace(bare_content(), found=both)
    view = all_sections()["metrics"].view(content)
    assert view is not None
    assert (view["truth"], view["frames"]) == (None, 1)
    headline = {score.name: score for score in view["headline"]}
    assert headline["mAP"] == Score("mAP", pytest.approx(0.1), pytest.approx(0.1 * 40 / 90))
    assert headline["NDS"].got_worse
    assert [score.name for score in view["by_class"]] == ["car"], "classes that are annotated"
    assert [(score.name, score.reference) for score in view["by_distance"]] == [
        ("0 to 20 m", pytest.approx(1.0)),
        ("20 to 35 m", pytest.approx(1.0)),
        ("35 to 50 m", None),
    ]
    assert view["by_scene"] == [Score("street", pytest.approx(1.0), pytest.approx(40 / 90))]
    reference, candidate = both
    assert curve_points(reference.classes["car"], reference.recall_grid)[-1] == (1.0, 1.0)
    found = curve_points(candidate.classes["car"], candidate.recall_grid)
    assert found[-1] == (0.5, 1.0), "as far as the class was found"
    assert "as nuscenes-devkit does" in render_report(content)


def test_a_proxy_is_named_as_one() -> None:
    found = {"street": [detections_of(CARS)]}
    same = score_agreement(SCENES, found, found, CLASS_NAMES, score_threshold=0.0)
    assert "proxy" in render_report(dataclasses.replace(bare_content(), found=[same, same]))
