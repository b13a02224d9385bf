from __future__ import annotations

import dataclasses

import pytest

from bevformer_lib.report.content import ReportContent
from bevformer_lib.report.page import all_sections, render_report
from tests.report.examples import bare_content, example_lost_cameras, example_metrics

BOTH = (example_metrics(0.354, 0.252), example_metrics(0.341, 0.239, scale=0.95))


def content(*found: object) -> ReportContent:
    return dataclasses.replace(bare_content(), found=found)


def test_change_by_class_and_camera() -> None:
    lost = example_lost_cameras()[:2]
    view = all_sections()["lost_camera"].view(content(*BOTH, *lost))
    assert view is not None
    assert view["cameras"] == ["front", "front right"]
    car = BOTH[1].classes["car"].ap
    ap, changes = view["classes"]["car"]
    assert ap == car
    assert changes == [pytest.approx(0.0), pytest.approx(lost[1].candidate.classes["car"].ap - car)]


def test_classes_that_no_camera_changes_are_only_named() -> None:
    same = dataclasses.replace(example_lost_cameras()[0], candidate=BOTH[1])
    view = all_sections()["lost_camera"].view(content(*BOTH, same))
    assert view is not None
    assert view["classes"] == {}
    assert len(view["unmoved"]) == 10


def test_absent_unless_cameras_were_dropped() -> None:
    title = "A camera lost"
    assert title not in render_report(content(*BOTH))
    assert title not in render_report(content(*example_lost_cameras()))
    page = render_report(content(*BOTH, *example_lost_cameras()))
    assert title in page
    assert page.count("back right") > 1
