from __future__ import annotations

import dataclasses

import pytest

from bevformer_lib.detections.types import Agreement
from bevformer_lib.evaluate.summary import EvaluationSummary, summarize
from bevformer_lib.fidelity import Fidelity
from bevformer_lib.gates.judge import GateResult, Verdict
from bevformer_lib.report.verdict import headline, verdict
from tests.evaluate.examples import make_scene
from tests.report.examples import bare_content, example_metrics, example_steps


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
    content = bare_content()
    content.__dict__["summary"] = summary
    return " ".join(verdict(content)).replace("\u202f", " ").replace("\u00a0", " ")


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
    assert "next frame is given" not in said(with_errors(0.01))
    assert "next frame is given" not in said(with_errors(0.0, 0.0))


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


@pytest.mark.parametrize(
    ("converter", "runtime", "words"),
    [
        ("emulator", "onnxruntime", "the emulated NPU"),
        ("onnxruntime", "onnxruntime", "ONNX Runtime INT8 (not the NPU's arithmetic)"),
        ("pulsar2", "pulsar2", "Pulsar2's simulator of the NPU"),
        ("pulsar2", "axengine", "the NPU"),
        ("other", "another", "another"),
    ],
)
def test_the_headline_names_the_backend(converter: str, runtime: str, words: str) -> None:
    steps = example_steps(converter=converter, runtime=runtime)
    content = dataclasses.replace(bare_content(), steps=steps)
    assert headline(content) == f"mAP and NDS not measured, on {words}"
    both = (example_metrics(0.354, 0.252), example_metrics(0.341, 0.239))
    expected = f"mAP 0.239 (float 0.252), NDS 0.341 (float 0.354), on {words}"
    assert headline(dataclasses.replace(content, found=both)) == expected


def test_gates_lead_the_verdict() -> None:
    results = (
        GateResult("metrics.mAP", ">= baseline", None, None, None, None, reason="no annotations"),
        GateResult("fidelity.bev_embed.cosine", ">= 0.9", 0.95, 0.9, 0.96, True),
    )
    content = dataclasses.replace(bare_content(), found=[Verdict("night", "b1", results)])
    said = verdict(content)
    assert said[0] == "The INT8 model passes all 1\u00a0gate that apply; 1 more had nothing to be computed from."
