from __future__ import annotations

import dataclasses

import pytest

from bevformer_lib.detections.types import Agreement
from bevformer_lib.evaluate.summary import EvaluationSummary, summarize
from bevformer_lib.fidelity import Fidelity
from bevformer_lib.report.verdict import verdict
from tests.evaluate.examples import make_scene


def with_errors(*errors: float) -> EvaluationSummary:
    scene = make_scene("a", len(errors))
    frames = [
        dataclasses.replace(
            frame, fidelity={name: Fidelity(1 - error**2 / 2, error, error, 0) for name in frame.fidelity}
        )
        for frame, error in zip(scene.frames, errors, strict=True)
    ]
    return summarize([dataclasses.replace(scene, frames=tuple(frames))])


def said(summary: EvaluationSummary) -> str:
    sentences = verdict(summary, reference_name="float model", candidate_name="INT8 model")
    return " ".join(sentences).replace("\u202f", " ").replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (0.0, "The INT8 model equals the float model over 2 frames of 1 scene"),
        (0.005, "The INT8 model stays very close to the float model: over 2 frames of 1 scene"),
        (0.02, "stays close to the float model"),
        (0.1, "differs clearly from the float model"),
        (0.5, "is far from the float model"),
        (50.0, "is far from the float model"),
    ],
)
def test_closeness(error: float, words: str) -> None:
    assert words in said(with_errors(error, error))


def test_drift() -> None:
    assert "grows along a scene, from 1.00 % to 4.00 % after 2 frames" in said(with_errors(0.01, 0.02, 0.04))
    assert "does not build up over the 3 frames of the longest scene" in said(with_errors(0.01, 0.02, 0.01))
    assert "remembers" not in said(with_errors(0.01))
    assert "remembers" not in said(with_errors(0.0, 0.0))


def test_detections() -> None:
    summary = with_errors(0.01, 0.01)
    assert "It finds 83.3 % of the float model's boxes, and 100.0 % of its own boxes" in said(summary)
    assert "Against 12 annotated objects, F1 is 0.667 for the float model and 0.667" in said(summary)
    nothing = dataclasses.replace(summary, agreement=Agreement(0, 0, 0, 0.0, 0.0), truth=None)
    assert "Neither model gives boxes above the score threshold" in said(nothing)
    assert "F1" not in said(nothing)
    one = dataclasses.replace(summary, agreement=Agreement(5, 0, 0, 0.0, 0.0))
    assert "Only one of the models gives boxes" in said(one)


def test_values_that_are_not_finite_come_first() -> None:
    text = said(summarize([make_scene("a", 3, broken_at=1)]))
    assert text.startswith("The INT8 model can't be trusted: in 1 of 3 frames")
    assert "first in scene a, frame 11" in text
    assert "can't be trusted" in said(summarize([make_scene("a", 1, broken_at=0)]))
