from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from bevformer_lib.detections.types import Detections, SceneEvaluation
from bevformer_lib.plain_data import from_plain, to_plain
from tests.evaluate.examples import make_scene


@pytest.mark.parametrize("truth", [True, False])
def test_json_round_trip_is_exact(truth: bool) -> None:
    evaluation = make_scene("scène 1", 3, truth=truth, broken_at=1)
    text = json.dumps(to_plain(evaluation), allow_nan=False)
    back = from_plain(SceneEvaluation, json.loads(text))
    for frame, original in zip(back.frames, evaluation.frames, strict=True):
        for model in ("reference", "candidate"):
            for field in dataclasses.fields(Detections):
                given = getattr(getattr(frame, model), field.name)
                expected = getattr(getattr(original, model), field.name)
                assert given.dtype == expected.dtype
                np.testing.assert_array_equal(given, expected)
        for field in ("index", "fidelity", "agreement", "truth", "seconds"):
            assert getattr(frame, field) == getattr(original, field)
    assert json.dumps(to_plain(back), allow_nan=False) == text


def test_extreme_values_and_no_boxes_survive() -> None:
    values = np.array([[1e-45, 3.4028235e38, -0.0, 1 / 3, 0.1, 16777217, np.pi, 1e-10, 7]], np.float32)
    for boxes in (values, values[:0]):
        scores = boxes[:, 3]
        detections = Detections(boxes, scores, np.arange(len(boxes), dtype=np.int64))
        back = from_plain(Detections, json.loads(json.dumps(to_plain(detections))))
        assert back.boxes.tobytes() == boxes.tobytes()
        assert back.boxes.shape == boxes.shape
    assert "0.1, " in json.dumps(Detections(values, values[:, 3], np.zeros(1, np.int64)).to_dict())
