"""What a build keeps of an emulation, for its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MOST_NAMED = 12
_PROJECTION = "/projection/"
"""In the names of the layers that project BEV points into the cameras (``model.encoder.Encoder.projection``)."""


@dataclass(frozen=True)
class WideTensor:
    """A tensor whose step is large.

    Attributes:
        layer: the node that makes it; empty for inputs.
        format: U8, S8, U16 or S16.
        step: value of one step.
        lowest: smallest value over the calibration set.
        highest: largest one.
    """

    name: str
    layer: str
    op_type: str
    format: str
    step: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Emulation:
    """An emulated converter's work, in short.

    Attributes:
        ptq_passes: passes of post-training quantisation that the float graph went through; empty: none.
        formats: format -> tensors kept in it.
        widest: the tensors with the largest steps, largest first, one for every scale.
        findings: requests that have no effect, and differences to a real build.
        uncertain: what is not measured.
        bounds: name of a bound -> its file.
        optimistic_map: mAP of the other bound; ``None``: not measured.
        optimistic_nds: NDS of the other bound; likewise.
    """

    recipe: str
    ptq_passes: str
    formats: Mapping[str, int]
    widest: tuple[WideTensor, ...]
    findings: tuple[str, ...]
    uncertain: tuple[str, ...]
    bounds: Mapping[str, str]
    optimistic_map: float | None = None
    optimistic_nds: float | None = None


def optimistic_path(output: Path) -> Path:
    """Return where the optimistic bound of a graph lies."""
    return output.with_name(f"{output.stem}_optimistic{output.suffix}")


def emulation_of(facts: Mapping[str, Any], optimistic: tuple[float | None, float | None] = (None, None)) -> Emulation:
    """Read an emulation's facts."""
    tensors = facts["tensors"]
    widest = _by_step(facts)[:_MOST_NAMED]
    return Emulation(
        recipe=facts["recipe"],
        ptq_passes=facts["ptq_passes"],
        formats=dict(sorted(Counter(one["format"] for one in tensors).items())),
        widest=widest,
        findings=tuple(facts["findings"]),
        uncertain=tuple(facts["uncertain"]),
        bounds=facts["bounds"],
        optimistic_map=optimistic[0],
        optimistic_nds=optimistic[1],
    )


def coarsest_of_projection(facts: Mapping[str, Any]) -> WideTensor | None:
    """Return the tensor with the largest step between ``lidar2img`` and the image coordinates.

    ``None``: the graph projects nothing, since the host does, or in float.
    """
    return next((one for one in _by_step(facts) if _PROJECTION in one.layer), None)


def _by_step(facts: Mapping[str, Any]) -> tuple[WideTensor, ...]:
    rounded = sorted((one for one in facts["tensors"] if one["rounded"]), key=lambda one: -one["scale"])
    return tuple(
        WideTensor(
            name=one["name"],
            layer=one["layer"],
            op_type=one["op_type"],
            format=one["format"],
            step=one["scale"],
            lowest=one["lowest"],
            highest=one["highest"],
        )
        for one in rounded
    )
