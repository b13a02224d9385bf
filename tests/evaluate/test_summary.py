from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from bevformer_lib.detections.types import ClassCounts
from bevformer_lib.errors import BevformerError
from bevformer_lib.evaluate.summary import FramePlace, summarize
from tests.evaluate.examples import make_scene


def test_worst_frames_are_named() -> None:
    scenes = [make_scene("a", 3), make_scene("b", 5)]
    summary = summarize(scenes)
    assert (summary.scenes, summary.frames, summary.annotated_frames) == (2, 8, 8)
    bev = summary.outputs["bev_embed"]
    assert bev.worst_relative_error_at == FramePlace(scene="b", index=14, position=4)
    assert bev.worst_cosine_at == bev.worst_relative_error_at
    errors = [frame.fidelity["bev_embed"].relative_error for scene in scenes for frame in scene.frames]
    assert bev.mean_relative_error == pytest.approx(np.mean(errors))
    assert bev.worst_relative_error == max(errors)
    assert bev.frames_not_finite == 0 and bev.not_finite_at is None


def test_drift_by_position() -> None:
    scenes = [make_scene("a", 2), make_scene("b", 4)]
    drift = summarize(scenes).drift
    assert [(point.position, point.frames) for point in drift] == [(0, 2), (1, 2), (2, 1), (3, 1)]
    firsts = [scene.frames[0].fidelity["bev_embed"].relative_error for scene in scenes]
    assert drift[0].mean_relative_error == pytest.approx(np.mean(firsts))
    assert drift[0].worst_relative_error == max(firsts)
    assert drift[3].mean_cosine < drift[0].mean_cosine


def test_frames_that_are_not_finite_are_counted_not_averaged() -> None:
    summary = summarize([make_scene("a", 3, broken_at=1)])
    bev = summary.outputs["bev_embed"]
    assert bev.frames_not_finite == 1
    assert bev.not_finite_at == FramePlace("a", 11, 1)
    assert bev.mean_cosine is not None
    assert [point.position for point in summary.drift] == [0, 2]
    alone = summarize([make_scene("a", 1, broken_at=0)])
    assert alone.outputs["bev_embed"].mean_cosine is None
    assert alone.outputs["bev_embed"].worst_cosine_at is None
    assert alone.drift == ()


def test_counts_add_up() -> None:
    summary = summarize([make_scene("a", 3), make_scene("b", 1, truth=False)])
    assert summary.agreement.reference_boxes == 24
    assert summary.agreement.mean_center_distance_m == pytest.approx(0.1)
    assert summary.annotated_frames == 3
    assert summary.truth is not None
    assert summary.truth.candidate == {"car": ClassCounts(12, 15, 9), "pedestrian": ClassCounts(6, 3, 3)}
    assert summary.truth.candidate["car"].precision == pytest.approx(0.6)
    assert summarize([make_scene("b", 1, truth=False)]).truth is None


def test_latency_leaves_out_first_frames() -> None:
    summary = summarize([make_scene("a", 3), make_scene("b", 2)])
    reference = summary.latency["reference"]
    assert reference is not None
    assert reference.frames == 3
    assert reference.median_s == pytest.approx(0.41)
    assert reference.p95_s == pytest.approx(0.419)
    assert summarize([make_scene("a", 1)]).latency["reference"] is None


def test_is_plain_data() -> None:
    json.dumps(dataclasses.asdict(summarize([make_scene("a", 3, broken_at=2)])), allow_nan=False)


def test_refuses_nothing_and_mixed_conditions() -> None:
    with pytest.raises(BevformerError, match="nothing was evaluated"):
        summarize([])
    other = dataclasses.replace(make_scene("b", 2), score_threshold=0.3)
    with pytest.raises(BevformerError, match=r"scenes a and b were evaluated differently"):
        summarize([make_scene("a", 2), other])
