"""Every section: shown when the build found something for it, absent otherwise, and what it says."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from bevformer_lib.calibration.coverage import CalibrationCoverage, QuantityCoverage
from bevformer_lib.evaluate.tensors import TensorSummary
from bevformer_lib.gates.judge import GateResult, Verdict
from bevformer_lib.metrics.metric_types import REFERENCE_MODEL, DetectionMetrics
from bevformer_lib.report.content import ReportContent
from bevformer_lib.report.page import render_report
from bevformer_lib.report.sections.calibration import coverage_gap
from bevformer_lib.report.sections.metrics import Score, headline_scores
from bevformer_lib.report.sections.timings import latency_histograms
from tests.evaluate.examples import make_scene
from tests.report.examples import bare_content, example_content, example_metrics, example_verdict
from tests.report.test_page import Page


def text_of(content: ReportContent) -> str:
    return re.sub(r"\s+", " ", Page(render_report(content)).text)


def only(*found: object) -> ReportContent:
    return dataclasses.replace(bare_content(), found=found)


FILLED = example_content()


@pytest.mark.parametrize(
    ("heading", "fields"),
    [
        ("Gates", {"found": FILLED.find(Verdict)}),
        ("as nuscenes-devkit does", {"found": FILLED.find(DetectionMetrics)}),
        ("Inside the network", {"found": FILLED.find(TensorSummary)}),
        ("What calibration saw", {"found": FILLED.find(CalibrationCoverage)}),
        ("What the converter built", {"conversion": FILLED.conversion}),
        ("scene-0000, frame 22", {"images": FILLED.images}),
        ("What was made from what", {"steps": FILLED.steps}),
    ],
)
def test_a_section_is_there_when_filled_and_absent_otherwise(heading: str, fields: dict[str, Any]) -> None:
    bare = bare_content()
    assert heading in text_of(dataclasses.replace(bare, **fields))
    rest = {name: getattr(bare, name) for name in fields}
    if "found" in fields:
        rest["found"] = tuple(one for one in FILLED.found if one not in fields["found"])
    assert heading not in text_of(dataclasses.replace(FILLED, **rest))
    assert heading not in text_of(bare)


def test_failed_gates_come_first_and_lead_the_verdict() -> None:
    text = text_of(only(example_verdict()))
    assert "Not good enough to publish: metrics.mAP is 0.214, asked is >= baseline - 0.01, worst in scene fcbc" in text
    assert text.index("✗ failed") < text.index("✓ passed")
    assert "miss night scenes" in text and "baseline 0.25" in text
    passing = text_of(only(example_verdict(failing=False)))
    assert "passes all 3\u00a0gates" in passing.replace("3 gates", "3\u00a0gates")
    assert "✗" not in passing and "miss night scenes" not in passing


def test_gates_that_do_not_apply_have_not_failed() -> None:
    results = (
        GateResult("metrics.mAP", ">= baseline", None, None, None, None, reason="no annotations"),
        GateResult("latency.p95_ms", "<= 100", None, 100.0, None, False, reason="no second frame"),
        GateResult("fidelity.bev_embed.cosine", ">= 0.9", 0.95, 0.9, 0.96, True, worst_scene="a", reason="a note"),
    )
    text = text_of(only(Verdict("night", "b1", results)))
    assert "1 failed, 1 not applicable" in text
    assert "– not applicable metrics.mAPno annotations" in text  # noqa: RUF001
    assert "baseline 0.96" in text and "a note" not in text


def test_metrics_show_both_models_and_what_got_worse() -> None:
    page = Page(render_report(FILLED))
    squeezed = re.sub(r"\s", "", page.text)
    for said in ("NDS0.3540.341−0.013", "mATE0.900m0.947m+0.047", "mAAE–––", "mAPbyscene(20rows)"):  # noqa: RUF001
        assert said in squeezed, said
    assert sum("worse" in (attributes.get("class") or "") for attributes in page.all("td")) > 10
    assert page.text.count("recall") >= 10


def test_a_proxy_is_named_as_one() -> None:
    both = [dataclasses.replace(example_metrics(0.9, 0.8), truth=REFERENCE_MODEL)] * 2
    text = text_of(only(*both))
    assert "No annotations: scored against boxes of the float model (a proxy" in text
    assert "Against the float model's own boxes, mAP 0.800" in text


@pytest.mark.parametrize(
    ("score", "worse"),
    [
        (Score("mAP", 0.3, 0.2), True),
        (Score("mAP", 0.2, 0.3), False),
        (Score("mATE", 0.2, 0.3, higher_is_better=False), True),
        (Score("mATE", 0.3, 0.2, higher_is_better=False), False),
        (Score("mAP", 0.3, 0.3), False),
        (Score("mAP", None, 0.3), False),
    ],
)
def test_what_got_worse(score: Score, worse: bool) -> None:
    assert score.got_worse is worse


def test_errors_are_better_when_lower_and_have_units() -> None:
    scores = {score.name: score for score in headline_scores(example_metrics(0.5, 0.4), example_metrics(0.4, 0.5))}
    assert scores["NDS"].got_worse and not scores["mAP"].got_worse
    assert (scores["mAVE"].unit, scores["mAVE"].higher_is_better) == ("m/s", False)


def test_coverage_says_what_the_samples_miss() -> None:
    speed = QuantityCoverage("Ego speed", "m/s", (1.0, 5.0), (0.5, 2.0, 3.0, 9.0))
    dark = QuantityCoverage("Brightness", "gray level", (-10.0, 90.0), (20.0, 30.0))
    assert coverage_gap(speed).replace("\u202f", " ") == (
        "Ego speed: 50.0 % of all frames lie outside the 1.00 to 5.00 m/s that the samples span."
    )
    assert coverage_gap(dark).replace("\u202f", " ") == (
        "Brightness: no frame lies outside the \u221210.0 to 90.0 gray level that the samples span."
    )
    assert coverage_gap(QuantityCoverage("Yaw rate", "deg/s", (), (1.0,))) == ""


def test_the_conversion_shows_cycles_precisions_and_findings() -> None:
    facts = FILLED.conversion
    assert facts is not None
    text = text_of(dataclasses.replace(bare_content(), conversion=facts))
    for said in ("Pulsar2 4.2 (docker: pulsar2:4.2)", "450 154", "98 000 000", "1 U8", "had no effect"):
        assert said in text, said
    for said in ("0.473 to 0.527 ms on a card", "301 000"):
        assert said in text, said
    older = {key: value for key, value in facts.items() if key not in ("estimated_ms", "layer_cycles")}
    assert "on a card" not in text_of(dataclasses.replace(bare_content(), conversion=older))
    assert text.index("AxSoftmax") < text.index("AxQuantizedConv"), "worst first"
    clean = {**facts, "findings": [], "precision_table": [], "max_cycle": [], "macs": []}
    said = text_of(dataclasses.replace(bare_content(), conversion=clean))
    assert "Every precision that was asked for was built" in said


def test_score_shifts_are_those_of_classes_that_both_found() -> None:
    same = make_scene("a", 2)
    frames = tuple(dataclasses.replace(frame, candidate=frame.reference) for frame in same.frames)
    assert "How scores moved" in text_of(bare_content([dataclasses.replace(same, frames=frames)]))
    assert "How scores moved" not in text_of(bare_content([same]))


def test_latency_histograms_need_frames_enough_and_leave_warm_up_out() -> None:
    names = ("float", "int8")
    assert latency_histograms([make_scene("a", 4), make_scene("b", 3)], names) == []
    reference, candidate = latency_histograms([make_scene("a", 12)], names)
    assert "float: 410 to 510" in reference, "without the first frame, of 400 ms"
    assert "median" in candidate
