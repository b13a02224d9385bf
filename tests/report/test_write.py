from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bevformer_lib.report.content import Fact, ReportContent, ReportImage, ReportPanel
from bevformer_lib.report.write import image_data_uri, render_report, write_report
from tests.evaluate.examples import make_scene
from tests.report.example_sections import digest
from tests.report.examples import example_content, image

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


def test_says_what_it_was_given(page: Page) -> None:
    text = re.sub(r"\s+", " ", page.text)
    for said in (
        "BEVFormer-Tiny, quantised to INT8",
        "Random weights.",
        "Synthetic scenes.",
        "Timings were taken on 2 busy cores.",
        "The INT8 model stays close to the float model",
        "bevformer_tiny.pth, 136 MB",
        digest("checkpoint"),
        "32 samples from 2 scenes, 3 of them a scene’s first frame; seed 0",  # noqa: RUF001
        digest("int8"),
        "outputs_coords",
        "scene-0000, frame 21",
        "num_samples was 16, is 32",
        "unchanged since 2026-11-21",
        digest("export")[:12],
        "pedestrian",
        "with a score above 0.1",
        "2.13.0+cpu",
    ):
        assert said in text, said


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
    for link in page.all("a"):
        assert (link["href"] or "").removeprefix("#") in ids or link["href"] == "artifacts/tiny.onnx"


def test_images_come_in_pairs_of_their_type(page: Page) -> None:
    sources = [(image["src"] or "").split(";")[0] for image in page.all("img")]
    assert sources == ["data:image/jpeg", "data:image/jpeg", "data:image/png", "data:image/webp"]


def test_text_is_escaped() -> None:
    evil = "<script>alert('x')</script>"
    content = example_content([make_scene(evil, 3)])
    content = dataclasses.replace(content, title=evil, notes=[evil], built_from=[Fact(evil, evil, evil)])
    page = Page(render_report(content))
    assert not page.all("script")
    assert page.text.count("alert('x')") >= 5


def test_without_the_optional_parts() -> None:
    content = dataclasses.replace(
        example_content([make_scene("a", 1, truth=False, broken_at=0)]),
        subtitle="",
        random_weights=False,
        made_up_scenes=False,
        notes=(),
        calibration=None,
        steps=(),
        artifacts=(),
        provenance=(),
        images=(),
    )
    page = Page(render_report(content))
    text = re.sub(r"\s+", " ", page.text)
    assert "Random weights" not in text and "Synthetic" not in text
    assert "can’t be trusted" in text  # noqa: RUF001
    assert "The scenes carry no annotations" in text
    assert "No values to draw." in text
    assert not page.all("aside") and not page.all("img")


def test_many_scenes_are_drawn_as_mean_and_worst() -> None:
    text = Page(render_report(example_content([make_scene(f"s{i}", 4) for i in range(9)]))).text
    assert "mean of 9 scenes" in text and "worst scene" in text


def test_same_content_same_bytes_and_atomic(tmp_path: Path, content: ReportContent) -> None:
    first, second = tmp_path / "é 1" / "report.html", tmp_path / "second.html"
    write_report(content, first)
    write_report(content, second)
    assert first.read_bytes() == second.read_bytes()
    broken = dataclasses.replace(content, images=[ReportImage("a", [ReportPanel("b", b"GIF89a")])])
    with pytest.raises(ValueError, match="not a JPEG, PNG or WebP image"):
        write_report(broken, second)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["second.html", "é 1"]


def test_image_types() -> None:
    for suffix, kind in ((".jpg", "jpeg"), (".png", "png"), (".webp", "webp")):
        assert image_data_uri(image("x", suffix=suffix)).startswith(f"data:image/{kind};base64,")
