from __future__ import annotations

import dataclasses
import re

import pytest

from bevformer_lib.report.content import ReportArtifact
from bevformer_lib.report.section_drawings import coverage_gaps, evaluation_latencies, section_views
from bevformer_lib.report.sections import CoverageQuantity, CoverageSection, ReportSections, Score
from bevformer_lib.report.write import render_report
from tests.evaluate.examples import make_scene
from tests.report.example_sections import digest, example_gates, example_sections
from tests.report.examples import example_content
from tests.report.test_write import Page

HEADINGS = {
    "gates": "Gates",
    "metrics": "Metrics",
    "tensors": "Inside the network",
    "score_shifts": "How scores moved",
    "conversion": "What the converter built",
    "coverage": "What calibration saw",
    "lineage": "What was made from what",
    "latencies": "INT8 model on the board",
}


def page_of(sections: ReportSections) -> Page:
    return Page(render_report(dataclasses.replace(example_content(), sections=sections)))


def text_of(page: Page) -> str:
    return re.sub(r"\s+", " ", page.text)


@pytest.mark.parametrize("name", HEADINGS)
def test_a_section_is_there_when_filled_and_absent_otherwise(name: str) -> None:
    filled = example_sections()
    alone = text_of(page_of(dataclasses.replace(ReportSections(), **{name: getattr(filled, name)})))
    assert HEADINGS[name] in alone
    assert HEADINGS[name] not in text_of(page_of(dataclasses.replace(filled, **{name: None})))
    assert not [heading for other, heading in HEADINGS.items() if other != name and heading in alone]


def test_failed_gates_come_first_and_lead_the_verdict() -> None:
    text = text_of(page_of(ReportSections(gates=example_gates())))
    assert "Not good enough to publish: metrics.mAP is 0.214, asked is >= baseline - 0.01, worst in scene fcbc" in text
    assert text.index("✗ failed") < text.index("✓ passed")
    assert "miss night scenes" in text
    passing = text_of(page_of(ReportSections(gates=example_gates(failing=False))))
    assert "passes all 3 gates" in passing and "✗" not in passing and "miss night scenes" not in passing


def test_metrics_show_both_models_and_what_got_worse() -> None:
    page = page_of(example_sections())
    squeezed = re.sub(r"\s", "", page.text)
    for said in ("NDS0.3540.341−0.013", "mATE0.900m0.914m+0.014", "mAAE–––", "mAPbyscene(20rows)"):  # noqa: RUF001
        assert said in squeezed, said
    assert sum(attributes.get("class") == "worse" for attributes in page.all("span")) > 10
    assert page.text.count("recall") >= 10


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


def test_coverage_says_what_the_samples_miss() -> None:
    speed = CoverageQuantity("Ego speed", "m/s", [1.0, 5.0], [0.5, 2.0, 3.0, 9.0])
    dark = CoverageQuantity("Brightness", "", [10.0, 90.0], [20.0, 30.0])
    empty = CoverageQuantity("Yaw rate", "°/s", [], [1.0])
    found = [sentence.replace("\u202f", " ") for sentence in coverage_gaps(CoverageSection(1, 2, [speed, dark, empty]))]
    assert found == [
        "Ego speed: 50.0 % of all frames lie outside the 1.00 to 5.00 m/s that the samples span.",
        "Brightness: no frame lies outside the 10.0 to 90.0 that the samples span.",
    ]


def test_the_conversion_shows_cycles_precisions_and_findings() -> None:
    filled = example_sections().conversion
    assert filled is not None
    text = text_of(page_of(ReportSections(conversion=filled)))
    for said in ("Pulsar2 4.2 (docker: pulsar2:4.2)", "450 154", "98 000 000", "2 U8", "AxSoftmax", "had no effect"):
        assert said in text, said
    clean = dataclasses.replace(filled, findings=(), operators=(), types={}, max_cycle=(), macs=())
    assert "Every precision that was asked for was built" in text_of(page_of(ReportSections(conversion=clean)))


def test_latency_histograms_need_frames_enough_and_leave_warm_up_out() -> None:
    evaluations = [make_scene("a", 4), make_scene("b", 3)]
    reference, candidate = evaluation_latencies(evaluations, ("float", "int8"))
    assert (reference.name, len(reference.seconds), len(candidate.seconds)) == ("float", 5, 5)
    assert section_views(ReportSections(), evaluations, ("float", "int8"))["latency_histograms"] == []
    many = [make_scene("a", 12)]
    assert len(section_views(ReportSections(), many, ("float", "int8"))["latency_histograms"]) == 2


@pytest.mark.parametrize("link", ["artifacts/a b.onnx", "https://host/x?y=1&z", "s3://bucket/key", "file:///x", ""])
def test_artifacts_are_linked(link: str) -> None:
    content = dataclasses.replace(example_content(), artifacts=[ReportArtifact("a", "b", digest("c"), 1, link)])
    links = [attributes["href"] for attributes in Page(render_report(content)).all("a")]
    assert (link in links) == bool(link)


@pytest.mark.parametrize("link", ["javascript:alert(1)", " JavaScript:alert(1)", "data:text/html,x", "vbscript:x"])
def test_links_that_run_something_are_refused(link: str) -> None:
    with pytest.raises(ValueError, match="doesn't link to"):
        ReportArtifact("a", "b", digest("c"), 1, link)


def test_text_in_sections_is_escaped() -> None:
    evil = "<script>alert('x')</script>"
    gates = dataclasses.replace(
        example_gates(), policy=evil, outcomes=[dataclasses.replace(example_gates().outcomes[1], name=evil, cause=evil)]
    )
    filled = example_sections()
    assert filled.lineage is not None
    lineage = [dataclasses.replace(filled.lineage[0], title=evil, detail=evil)]
    page = page_of(dataclasses.replace(filled, gates=gates, lineage=lineage))
    assert not page.all("script")
    assert page.text.count("alert('x')") >= 4
