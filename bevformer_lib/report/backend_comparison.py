"""A ladder as one HTML file: every form of a model against the first one, and where the bar is missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bevformer_lib import __version__
from bevformer_lib.evaluate.backend_comparison import LadderResult, RungResult, TensorFigures
from bevformer_lib.export.intermediates_runtime import computing_order
from bevformer_lib.files import atomic_path
from bevformer_lib.report import numbers
from bevformer_lib.report.charts import Series, line_chart
from bevformer_lib.report.write import page_environment

_TEMPLATE: Final = "ladder.html"


@dataclass(frozen=True)
class _Cell:
    """One tensor of one rung; ``None``: the rung does not give it, or nothing to compare it with."""

    from_first: TensorFigures | None
    from_above: TensorFigures | None
    below: bool


def write_ladder_report(result: LadderResult, output: Path) -> None:
    """Write the page atomically; same result, same bytes but for the times."""
    page = render_ladder(result)
    with atomic_path(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render_ladder(result: LadderResult) -> str:
    """Return the page's HTML."""
    first, *others = result.rungs
    names = sorted({name for rung in others for name in rung.from_first}, key=computing_order)
    view: Mapping[str, Any] = {
        "result": result,
        "first": first,
        "others": others,
        "verdict": ladder_verdict(result),
        "rows": [(name, [_cell(rung, name, result.min_cosine) for rung in others]) for name in names],
        "chart": line_chart(
            "Worst cosine, from the pictures to the boxes",
            [Series(rung.name, _points(rung, names)) for rung in others],
            x_label="tensor, in computing order",
            y_label=f"cosine with {first.name}",
            y_format=numbers.cosine,
            y_limit=1.0,
        ),
        "version": __version__,
    }
    return page_environment().get_template(_TEMPLATE).render(view)


def ladder_verdict(result: LadderResult) -> str:
    """Return the first rung and the first tensor below the bar, in words."""
    below = result.first_below
    if below is None:
        return f"every rung holds the bar: no cosine below {result.min_cosine:g} in any frame"
    cosine = "not finite" if below.cosine is None else f"cosine {below.cosine:.6f}"
    place = f"scene {below.place.scene}, frame {below.place.index}"
    hint = "; it gives no tensor that is computed before, the loss may begin earlier inside" * below.unseen_before
    return (
        f"first below the bar of {result.min_cosine:g}: {below.rung}, tensor {below.tensor} ({cosine}, {place}{hint})"
    )


def _cell(rung: RungResult, name: str, min_cosine: float) -> _Cell:
    found = rung.from_first.get(name)
    below = found is not None and (found.worst_cosine is None or found.worst_cosine < min_cosine)
    return _Cell(found, rung.from_above.get(name), below)


def _points(rung: RungResult, names: Sequence[str]) -> list[tuple[float, float | None]]:
    return [
        (float(place), rung.from_first[name].worst_cosine)
        for place, name in enumerate(names, start=1)
        if name in rung.from_first
    ]
