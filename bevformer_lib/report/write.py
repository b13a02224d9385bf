"""Rendering a report into one HTML file that needs nothing else: no script, no font, no request."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bevformer_lib import __version__
from bevformer_lib.detections.types import ClassCounts
from bevformer_lib.evaluate.summary import STAGES, EvaluationSummary, total_counts
from bevformer_lib.files import atomic_path
from bevformer_lib.report import numbers
from bevformer_lib.report.content import ReportContent
from bevformer_lib.report.drawings import drift_charts, latency_chart, short_name
from bevformer_lib.report.section_drawings import section_views
from bevformer_lib.report.verdict import CLOSENESS, verdict

_TEMPLATE: Final = "report.html"
_NO_COUNTS: Final = ClassCounts(annotated=0, detected=0, matched=0)
_PICTURE_TYPES: Final = ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"RIFF", "webp"))


def write_report(content: ReportContent, output: Path) -> None:
    """Write the report atomically; same content, same bytes.

    Args:
        content: what to say.
        output: the ``.html`` file; replaced if it is there.

    Raises:
        ValueError: an image is neither JPEG, PNG nor WebP.
    """
    page = render_report(content)
    with atomic_path(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render_report(content: ReportContent) -> str:
    """Return the report's HTML."""
    return page_environment().get_template(_TEMPLATE).render(_view(content))


def page_environment() -> Environment:
    """Return what renders pages: the templates of this folder and the filters that they use."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (
        numbers.cosine,
        numbers.share,
        numbers.error,
        numbers.significant,
        numbers.seconds,
        numbers.size,
        numbers.count,
        numbers.metres,
        numbers.decimals,
    )
    environment.filters |= {function.__name__: function for function in filters}
    environment.filters |= {"data_uri": image_data_uri, "short_name": short_name}
    return environment


def image_data_uri(image: bytes) -> Markup:
    """Return an encoded image as a ``data:`` address.

    Raises:
        ValueError: the image is neither JPEG, PNG nor WebP.
    """
    for beginning, kind in _PICTURE_TYPES:
        if image.startswith(beginning):
            return Markup("data:image/{};base64,{}").format(kind, base64.b64encode(image).decode("ascii"))
    raise ValueError(f"not a JPEG, PNG or WebP image: it begins with {binascii.hexlify(image[:8])!r}")


def _view(content: ReportContent) -> Mapping[str, Any]:
    """Gather everything that the template prints but doesn't compute."""
    summary = content.summary
    names = (content.reference_name, content.candidate_name)
    stage_names = ("reading images", *names)
    return {
        "content": content,
        "summary": summary,
        "version": __version__,
        "sections": content.sections,
        "verdict": verdict(
            summary,
            reference_name=content.reference_name,
            candidate_name=content.candidate_name,
            gates=content.sections.gates,
        ),
        "closeness": CLOSENESS,
        "truth_rows": _truth_rows(summary),
        "drift_charts": drift_charts(content.evaluations, summary),
        "latency_rows": [(name, summary.latency[stage]) for name, stage in zip(stage_names, STAGES, strict=True)],
        "latency_chart": latency_chart(summary, stage_names),
        **section_views(content.sections, content.evaluations, names),
    }


def _truth_rows(summary: EvaluationSummary) -> list[tuple[str, ClassCounts, ClassCounts]]:
    """Pair both models' counts by class, all classes last."""
    if summary.truth is None:
        return []
    reference, candidate = summary.truth.reference, summary.truth.candidate
    rows = [
        (name, reference.get(name, _NO_COUNTS), candidate.get(name, _NO_COUNTS))
        for name in summary.class_names
        if name in reference or name in candidate
    ]
    both = (total_counts([row[1] for row in rows]), total_counts([row[2] for row in rows]))
    return [*rows, ("all classes", *both)]
