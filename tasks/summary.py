"""What became of a build, for people who look at the run in Prefect."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from bevformer_lib.pipeline.builds import Build, read_build
from bevformer_lib.pipeline.gates import read_verdict
from bevformer_lib.pipeline.inputs import open_artifact, read_json_artifact
from bevformer_lib.pipeline.report import REPORT, SUMMARY
from bevformer_lib.pipeline.runs import Run
from bevformer_lib.report.content import ReportStep
from bevformer_lib.report.lineage import lineage
from bevformer_lib.report.mermaid import mermaid_flowchart
from bevformer_lib.store.base import Store
from bevformer_lib.store.records import read_step
from tasks.gate_events import emit_gates

_PICTURES: Final = 2
_PICTURE_WIDTH: Final = 960
"""Pixels: an artifact lies in the server's database."""
_JPEG: Final = re.compile(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)")

_log = logging.getLogger(__name__)


def show(run: Run, store: Store) -> None:
    """Leave a run's steps in the flow run, and what its build found, where there is one.

    What can't be shown is no reason for a build to fail.
    """
    try:
        create_table_artifact(key="steps", table=_steps(run), description="What this build did, and why.")
        if run.build is not None:
            build = read_build(store, run.build)
            _show_build(build, store)
            create_markdown_artifact(key="lineage", markdown=_lineage(run, store), description="What was made of what.")
            emit_gates(build, read_verdict(store, build))
    except Exception:
        _log.exception("the artifacts of this run could not be published")


def _steps(run: Run) -> list[dict[str, Any]]:
    return [
        {"step": step.title, "ran": "yes" if step.ran else "no", "why": step.reason, "seconds": step.seconds}
        for step in run.steps
    ]


def _lineage(run: Run, store: Store) -> str:
    steps = [ReportStep(read_step(store, step.identity), step.ran, step.reason) for step in run.steps]
    return mermaid_flowchart(lineage(steps))


def _show_build(build: Build, store: Store) -> None:
    if SUMMARY in build.outputs:
        summary = read_json_artifact(store, build.outputs[SUMMARY])
        lines = "\n".join(_lines(build, store, summary))
        create_markdown_artifact(key="report", markdown=lines, description="The report's summary.")
    if REPORT not in build.outputs:
        return
    report = build.outputs[REPORT]
    uri = f"{store.uri}/objects/{report.sha256}"
    create_link_artifact(key="report-file", link=uri, link_text=REPORT, description="The report, as the store has it.")
    page = open_artifact(store, report).read_text(encoding="utf-8")
    for number, image in enumerate(_JPEG.findall(page)[:_PICTURES], start=1):
        create_image_artifact(
            image_url=f"data:image/jpeg;base64,{_smaller(image)}",
            key=f"image-{number}",
            description="Boxes of both models in a frame of the report.",
        )


def _lines(build: Build, store: Store, summary: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {build.name}: {summary['frames']} frames of {summary['scenes']} scenes\n"
    yield "| output | mean cosine | worst cosine | worst relative error |"
    yield "| --- | ---: | ---: | ---: |"
    for name, output in summary["outputs"].items():
        figures = (output["mean_cosine"], output["worst_cosine"], output["worst_relative_error"])
        yield f"| {name} | {' | '.join('not finite' if value is None else f'{value:.6f}' for value in figures)} |"
    yield "\n| file | bytes | sha256 |\n| --- | ---: | --- |"
    for path, artifact in build.outputs.items():
        yield f"| {path} | {artifact.size:,} | `{artifact.sha256[:12]}` |"
    yield f"\nAll files: `bevformer store get {store.uri} {build.identity} --output build`"


def _smaller(image: str) -> str:
    """Return an image (base64 of a JPEG) at the width that is shown."""
    import cv2
    import numpy as np

    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(image), np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError("an image of the report is no JPEG")
    height, width = pixels.shape[:2]
    if width > _PICTURE_WIDTH:
        size = (_PICTURE_WIDTH, round(height * _PICTURE_WIDTH / width))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return base64.b64encode(cv2.imencode(".jpg", pixels)[1].tobytes()).decode()
