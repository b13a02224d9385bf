from __future__ import annotations

import dataclasses
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bevformer_lib.report import sections
from bevformer_lib.report.content import ReportContent, ReportImage, ReportStep
from bevformer_lib.report.page import all_sections, image_data_uri, render_report, write_report
from bevformer_lib.store.step import Step
from tests.evaluate.examples import make_scene
from tests.report.examples import bare_content, digest, example_content, image, outside, recorded

VOID = {"meta", "link", "img"}


class Page(HTMLParser):
    """Checks that tags nest, and collects what the tests ask about."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def content() -> ReportContent:
    return example_content()


@pytest.fixture(scope="module")
def page(content: ReportContent) -> Page:
    return Page(render_report(content))


def test_says_what_it_was_given(page: Page, content: ReportContent) -> None:
    text = re.sub(r"\s+", " ", page.text)
    for said in (
        "Random weights.",
        "Synthetic scenes.",
        "The INT8 model stays close to the float model",
        "micro: 6 cameras of 96 x 160 pixels, BEV 10 x 12, 30 queries",
        "bevformer_tiny.pth (/data/bevformer_tiny.pth)",
        digest("bevformer_tiny.pth"),
        "/data/scènes d'essai",
        "percentile 99.9",
        "32 samples from 2 scenes, 3 of them a scene’s first frame; seed 0",  # noqa: RUF001
        digest("compiled.axmodel"),
        "outputs_coords",
        "scene-0000, frame 21",
        "num_samples was 16, is 32",
        "unchanged since 2026-11-21",
        content.steps[0].record.step.key[:12],
        "pedestrian",
        "with a score above 0.1",
        "2.13.0+cpu",
    ):
        assert said in text, said


def test_the_first_line_is_the_verdict(page: Page, content: ReportContent) -> None:
    html = render_report(content)
    headline = "mAP 0.239 (float 0.252), NDS 0.341 (float 0.354), on Pulsar2&#39;s simulator of the NPU"
    assert html[html.index("<header>") :].startswith(f"<header>\n  <h1>{headline}</h1>")


def test_needs_nothing_from_outside(content: ReportContent, page: Page) -> None:
    html = render_report(content)
    assert not page.all("script")
    assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r"base64,[A-Za-z0-9+/=]+", "", html))
    assert "@import" not in html and "url(" not in html
    for tag in page.all("link") + page.all("img"):
        assert (tag.get("href") or tag.get("src") or "").startswith("data:")
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_is_accessible(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in page.all("img"))
    assert all(drawing.get("aria-label") or drawing.get("aria-hidden") for drawing in page.all("svg"))
    assert all(header.get("scope") for header in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert {(link["href"] or "").removeprefix("#") for link in page.all("a")} == set(ids) - {"verdict"}


def test_sections_stand_in_their_order_with_a_template_each(page: Page) -> None:
    assert [attributes["id"] for attributes in page.all("h2")] == ["verdict", *all_sections()]
    places = [section.place for section in all_sections().values()]
    assert len(set(places)) == len(places)


def test_a_section_is_added_by_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (
        "from bevformer_lib.report.content import Section",
        "SECTION = Section(75, 'Camera lost', lambda content: {'frames': content.summary.frames})",
    )
    (tmp_path / "camera_lost.py").write_text("\n".join(lines))
    (tmp_path / "camera_lost.html").write_text("<p>{{ frames | count('frame') }} without it</p>")
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path)])
    page = Page(render_report(example_content()))
    monkeypatch.delitem(sys.modules, f"{sections.__name__}.camera_lost")
    headings = [attributes["id"] for attributes in page.all("h2")]
    assert headings[headings.index("detections") :][:3] == ["detections", "camera_lost", "metrics"]
    assert {"href": "#camera_lost"} in page.all("a")
    assert "21\u00a0frames without it" in page.text


def test_images_are_embedded_with_their_type(page: Page) -> None:
    sources = [(image["src"] or "").split(";")[0] for image in page.all("img")]
    assert sources == ["data:image/jpeg", "data:image/png", "data:image/webp"]


def test_text_is_escaped() -> None:
    evil = "<script>alert('x')</script>"
    record = recorded(Step(f"{evil} step", 1, {evil: outside(evil, evil), "checkpoint": outside(evil, evil)}), evil)
    content = bare_content([make_scene(evil, 3)])
    content = dataclasses.replace(content, names=(evil, evil), steps=[ReportStep(record, True, evil)])
    page = Page(render_report(content))
    assert not page.all("script")
    assert page.text.count("alert('x')") >= 15


def test_without_the_optional_parts() -> None:
    page = Page(render_report(bare_content([make_scene("a", 1, truth=False, broken_at=0)])))
    text = re.sub(r"\s+", " ", page.text)
    assert "mAP and NDS not measured" in text
    assert "Random weights" not in text and "Synthetic" not in text
    assert "can’t be trusted" in text  # noqa: RUF001
    assert "The scenes carry no annotations" in text
    assert "No values to draw." in text
    assert not page.all("aside") and not page.all("img")
    assert [one["id"] for one in page.all("h2")] == [
        *("verdict", "built", "fidelity", "detections", "timings", "provenance")
    ]


def test_many_scenes_are_drawn_as_mean_and_worst() -> None:
    text = Page(render_report(bare_content([make_scene(f"s{i}", 4) for i in range(9)]))).text
    assert "mean of 9 scenes" in text and "worst scene" in text


def test_same_content_same_bytes_and_atomic(tmp_path: Path, content: ReportContent) -> None:
    first, second = tmp_path / "é 1" / "report.html", tmp_path / "second.html"
    write_report(content, first)
    write_report(content, second)
    assert first.read_bytes() == second.read_bytes()
    broken = dataclasses.replace(content, images=[ReportImage("a", "b", b"GIF89a")])
    with pytest.raises(ValueError, match="not a JPEG, PNG or WebP image"):
        write_report(broken, second)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["second.html", "é 1"]


def test_image_types() -> None:
    for suffix, kind in ((".jpg", "jpeg"), (".png", "png"), (".webp", "webp")):
        assert image_data_uri(image("x", suffix=suffix)).startswith(f"data:image/{kind};base64,")
