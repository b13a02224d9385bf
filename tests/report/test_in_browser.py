"""The report as a browser shows it, on a desk and on a phone, by day and by night."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from bevformer_lib.report.page import write_report
from tests.evaluate.examples import make_scene
from tests.report.examples import example_content, example_steps, image
from tests.support.chromium import Page, open_chromium, requires_chromium

pytestmark = requires_chromium

PHONE, DESK = 390, 1280
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
CONTRASTS = """
(() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map((v) => {
      const c = v / 255;
      return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const ratio = (color) => {
    const value = light(color);
    return (Math.max(value, paper) + 0.05) / (Math.min(value, paper) + 0.05);
  };
  const found = {};
  for (const one of document.querySelectorAll("p, td, th, dt, dd, small, a, span, figcaption, svg text")) {
    const style = getComputedStyle(one);
    found[one.tagName + "." + one.getAttribute("class")] = ratio(one.tagName === "text" ? style.fill : style.color);
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(example_content(), path)
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_fits_and_needs_nothing(page: Page, report: Path, width: int, scheme: str) -> None:
    page.open(report, width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    images = page.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth)")
    assert images == [960] * 3
    assert page.requested() == [report.as_uri()]
    cut = page.evaluate(
        "[...document.querySelectorAll('.chart > svg')].flatMap((svg) => [...svg.querySelectorAll('text')].filter("
        "(text) => text.getBoundingClientRect().right > svg.getBoundingClientRect().right + 2 ||"
        " text.getBoundingClientRect().left < svg.getBoundingClientRect().left - 2).map((text) => text.textContent))"
    )
    assert cut == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read(page: Page, report: Path, scheme: str) -> None:
    page.open(report, width=DESK, scheme=scheme)
    shade = page.evaluate(BACKGROUND)
    assert (sum(map(int, shade.removeprefix("rgb(").removesuffix(")").split(","))) > 600) == (scheme == "light")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 15
    assert min(contrasts.values()) >= 4.5, contrasts


def test_text_on_a_phone_is_not_tiny(page: Page, report: Path) -> None:
    page.open(report, width=PHONE, scheme="light")
    heights = page.evaluate(
        "[...document.querySelectorAll('.chart text')].map((text) => text.getBoundingClientRect().height)"
    )
    assert min(heights) > 10


def test_can_be_printed(page: Page, report: Path) -> None:
    page.open(report, width=DESK, scheme="dark")
    assert page.pdf().startswith(b"%PDF")
    page.send("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert page.evaluate(BACKGROUND) == "rgb(252, 252, 250)"
    page.send("Emulation.setEmulatedMedia", media="")


def test_a_hundred_and_fifty_scenes_stay_small(page: Page, tmp_path: Path) -> None:
    content = example_content([make_scene(f"scene-{number:04d}", 41) for number in range(150)])
    images = [dataclasses.replace(one, image=image("worst", size_hw=(1376, 1844))) for one in content.images * 2]
    step = example_steps()[-1]
    steps = [*example_steps(), *[step] * 300]
    content = dataclasses.replace(content, images=images, steps=steps)
    path = tmp_path / "many.html"
    write_report(content, path)
    assert path.stat().st_size < 15e6
    loaded_ms = []
    for _ in range(3):
        page.open(path, width=DESK, scheme="light")
        loaded_ms.append(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
    # The best of three: other work on the machine is not the report's.
    assert 0 < min(loaded_ms) < 2000
