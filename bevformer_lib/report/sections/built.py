"""What the build was made from, and the files that it put out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bevformer_lib.report import numbers
from bevformer_lib.report.content import ReportContent, Section


def _view(content: ReportContent) -> Mapping[str, Any]:
    whole = [record for record in content.records if record.step.part is None]
    return {
        "facts": list(_facts(content)),
        "files": [(artifact, record.step.title) for record in whole for artifact in record.outputs.values()],
    }


def _facts(content: ReportContent) -> Iterator[tuple[str, str, str]]:
    model, (height, width) = content.model, content.model.image_hw
    yield (
        "Model",
        f"{model.name}: {model.num_cams} cameras of {height} x {width} pixels, BEV {model.bev_h} x {model.bev_w}, "
        f"{model.num_query} queries",
        f"config {model.digest()}",
    )
    dtype = content.parameter("input_dtype")
    if dtype is not None:
        size = numbers.size(model.image_bytes(dtype))
        yield "Images", f"{dtype}, {size} a frame", f"normalised by the {'graph' if dtype == 'uint8' else 'host'}"
    for role, artifact in content.inputs():
        if role == "checkpoint":
            yield "Checkpoint", f"{artifact.name} ({artifact.source})", artifact.sha256
    scenes, frames = content.summary.scenes, content.summary.frames
    sources = {artifact.source or "" for role, artifact in content.inputs() if role.split(" ")[0] == "scene"}
    said = f"{numbers.count(scenes, 'scene')}, {numbers.count(frames, 'frame')}"
    yield "Scenes", said, ", ".join(sorted(sources))
    if converter := content.parameter("converter"):
        settings = (content.fact("settings") or {}).items()
        yield "Converter", str(converter), ", ".join(f"{name} {value}" for name, value in settings)


SECTION = Section(place=20, title="Built from", view=_view)
