"""The velocity error of what moves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bevformer_lib.metrics.eval_boxes import ScoredFrame
from bevformer_lib.metrics.moving_objects import moving_velocity_error_mps
from bevformer_lib.scenes.types import Frame, GroundTruthBox
from tests.support.detections import detections_of
from tests.support.micro import CLASS_NAMES

CAR = GroundTruthBox("car", (0.0, 10.0, -1.0), (2.0, 4.0, 1.5), 0.3, (3.0, 4.0))
WALKER = dataclasses.replace(CAR, category="pedestrian", center_m=(9.0, 0.0, 0.0), velocity_mps=(0.0, 1.0))
PARKED = dataclasses.replace(CAR, center_m=(-20.0, 0.0, 0.0), velocity_mps=(0.0, 0.0))


def scored(truth: tuple[GroundTruthBox, ...], found: tuple[GroundTruthBox, ...]) -> ScoredFrame:
    where = Frame(0, (), np.zeros((6, 4, 4)), np.zeros(18), truth, Path("meta_000000.json"))
    return ScoredFrame("street", where, detections_of(found), truth)


def with_velocity(box: GroundTruthBox, x: float, y: float) -> GroundTruthBox:
    return dataclasses.replace(box, velocity_mps=(x, y))


def test_parked_cars_and_unknown_velocities_are_left_out() -> None:
    unknown = dataclasses.replace(CAR, center_m=(20.0, 0.0, 0.0), velocity_known=False)
    truth = (CAR, WALKER, PARKED, unknown)
    found = (with_velocity(CAR, 0.0, 0.0), with_velocity(WALKER, 0.0, 2.0), with_velocity(PARKED, 9.0, 9.0), unknown)

    error = moving_velocity_error_mps([scored(truth, found)], CLASS_NAMES)

    assert error == pytest.approx((5.0 + 1.0) / 2)


def test_a_box_too_far_away_is_no_match() -> None:
    far = dataclasses.replace(with_velocity(CAR, 0.0, 0.0), center_m=(2.1, 10.0, -1.0))

    assert moving_velocity_error_mps([scored((CAR,), (far,))], CLASS_NAMES) is None
