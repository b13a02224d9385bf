"""The course of a training as JSON and as one small SVG."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bevformer_lib.files import atomic_path, write_json

_WIDTH: Final = 640
_HEIGHT: Final = 220
_MARGIN: Final = 44
_COLORS: Final = {"loss": "#345995", "map": "#b3541e"}


class Curves:
    """What was logged, kept in a file after every addition.

    ``rows`` are one object each: ``step``, ``seconds``, and either losses or, under ``held_out``, an evaluation.
    """

    def __init__(self, folder: Path, *, rows: Sequence[dict[str, Any]] = ()) -> None:
        self._folder = folder
        self.rows = list(rows)

    def add(self, row: dict[str, Any]) -> None:
        """Add a row and write ``progress.json`` and ``progress.svg``."""
        self.rows.append(row)
        write_json(self._folder / "progress.json", json.loads(json.dumps(self.rows, allow_nan=False)))
        with atomic_path(self._folder / "progress.svg") as temporary:
            temporary.write_text(self.svg(), encoding="utf-8")

    def svg(self) -> str:
        """Return both curves over the steps: the loss, and mAP on the held-out scenes."""
        last = max((row["step"] for row in self.rows), default=1) or 1
        losses = [(row["step"], row["loss"]) for row in self.rows if "loss" in row]
        maps = [(row["step"], row["held_out"]["map"] or 0.0) for row in self.rows if "held_out" in row]
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {2 * _HEIGHT}" font-family="sans-serif" '
            'font-size="12">'
        ]
        for number, (name, title, points, least_top) in enumerate(
            (("loss", "loss", losses, 0.0), ("map", "mAP, held out", maps, 0.1))
        ):
            top = max([least_top, *(value for _, value in points)]) or 1.0
            base = number * _HEIGHT + _HEIGHT - _MARGIN
            reach = _HEIGHT - 2 * _MARGIN
            line = " ".join(
                f"{_MARGIN + step / last * (_WIDTH - 2 * _MARGIN):.1f},{base - value / top * reach:.1f}"
                for step, value in points
            )
            parts += [
                f'<text x="{_MARGIN}" y="{base - reach - 10}">{title}, up to {top:.3g}</text>',
                f'<path d="M{_MARGIN} {base - reach}V{base}H{_WIDTH - _MARGIN}" fill="none" stroke="#888"/>',
                f'<text x="{_WIDTH - _MARGIN}" y="{base + 16}" text-anchor="end">step {last}</text>',
                f'<polyline points="{line}" fill="none" stroke="{_COLORS[name]}" stroke-width="1.5"/>',
            ]
        return "\n".join([*parts, "</svg>", ""])
