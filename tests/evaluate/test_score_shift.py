from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bevformer_lib.detections.types import Detections, SceneEvaluation
from bevformer_lib.evaluate.score_shift import ScoreShift, score_shifts
from tests.evaluate.examples import make_frame, make_scene
from tests.support.micro import CLASS_NAMES

CAR, TRUCK = CLASS_NAMES.index("car"), CLASS_NAMES.index("truck")


def boxes(*found: tuple[int, float, float]) -> Detections:
    """Class, x and score of each."""
    values = np.zeros((len(found), 9), np.float32)
    values[:, 0] = [x for _, x, _ in found]
    return Detections(
        values, np.array([score for *_, score in found], np.float32), np.array([label for label, *_ in found], np.int64)
    )


def evaluation(reference: Detections, candidate: Detections) -> SceneEvaluation:
    frame = make_frame(0, np.random.default_rng(0))
    frame = dataclasses.replace(frame, reference=reference, candidate=candidate)
    return dataclasses.replace(make_scene("s", 1), frames=(frame,))


def test_shifts_by_hand() -> None:
    first = evaluation(boxes((CAR, 0, 0.9), (CAR, 20, 0.5)), boxes((CAR, 0.5, 0.8), (CAR, 21, 0.6)))
    second = evaluation(boxes((CAR, 0, 0.7), (TRUCK, 9, 0.4)), boxes((CAR, 1.0, 0.4), (CAR, 9, 0.4), (TRUCK, 30, 0.3)))
    found = {shift.class_name: shift for shift in score_shifts([first, second])}
    assert list(found) == list(CLASS_NAMES)
    assert found["car"].pairs == 3
    assert found["car"].mean == pytest.approx((-0.1 + 0.1 - 0.3) / 3)
    assert found["car"].mean_absolute == pytest.approx(0.5 / 3)
    assert found["car"].largest == pytest.approx(-0.3)
    assert found["truck"] == ScoreShift("truck", 0, None, None, None), "too far apart, or of another class"


def test_nothing_evaluated() -> None:
    assert score_shifts([]) == ()
