"""A backend comparison as one HTML file: every backend against the first one, and where the threshold is missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bevformer_lib.evaluate.backend_comparison import BackendComparison, BackendResult, TensorFigures
from bevformer_lib.export.intermediates_runtime import computing_order
from bevformer_lib.report import numbers
from bevformer_lib.report.charts import Series, line_chart
from bevformer_lib.report.page import page_environment, write_page

_TEMPLATE: Final = "backend_comparison.html"


@dataclass(frozen=True)
class _Cell:
    """One tensor of one backend; ``None``: the backend does not give it, or nothing to compare it with."""

    from_first: TensorFigures | None
    from_previous: TensorFigures | None
    below: bool


def write_backend_comparison(result: BackendComparison, output: Path) -> None:
    """Write the page atomically; same result, same bytes but for the times."""
    write_page(render_backend_comparison(result), output)


def render_backend_comparison(result: BackendComparison) -> str:
    """Return the page's HTML."""
    first, *others = result.backends
    names = sorted({name for backend in others for name in backend.from_first}, key=computing_order)
    view: Mapping[str, Any] = {
        "result": result,
        "first": first,
        "others": others,
        "verdict": comparison_verdict(result),
        "rows": [(name, [_cell(backend, name, result.min_cosine) for backend in others]) for name in names],
        "chart": line_chart(
            "Worst cosine, from the images to the boxes",
            [Series(backend.name, _points(backend, names)) for backend in others],
            x_label="tensor, in computing order",
            y_label=f"cosine with {first.name}",
            y_format=numbers.cosine,
            y_limit=1.0,
        ),
    }
    return page_environment().get_template(_TEMPLATE).render(view)


def comparison_verdict(result: BackendComparison) -> str:
    """Return the first backend and the first tensor below the threshold, in words."""
    below = result.first_below
    if below is None:
        return f"every backend holds the threshold: no cosine below {result.min_cosine:g} in any frame"
    cosine = "not finite" if below.cosine is None else f"cosine {below.cosine:.6f}"
    place = f"scene {below.place.scene}, frame {below.place.index}"
    hint = "; it gives no tensor that is computed before, the loss may begin earlier inside" * below.unseen_before
    where = f"{below.backend}, tensor {below.tensor} ({cosine}, {place}{hint})"
    return f"first below the threshold of {result.min_cosine:g}: {where}"


def _cell(backend: BackendResult, name: str, min_cosine: float) -> _Cell:
    found = backend.from_first.get(name)
    below = found is not None and (found.worst_cosine is None or found.worst_cosine < min_cosine)
    return _Cell(found, backend.from_previous.get(name), below)


def _points(backend: BackendResult, names: Sequence[str]) -> list[tuple[float, float | None]]:
    return [
        (float(place), backend.from_first[name].worst_cosine)
        for place, name in enumerate(names, start=1)
        if name in backend.from_first
    ]
