"""The one sentence that a gate may say: a metric, a comparison, and a number or another model's value.

::

    gate     = metric comparison bound
    bound    = number | model [("+" | "-" | "*") number]
    model    = "baseline" | "reference"

Nothing else is understood, and nothing is ever evaluated as code.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

BASELINE: Final = "baseline"
"""The last published build's value of the same metric."""
REFERENCE: Final = "reference"
"""The float model's value of the same metric in the same build."""

_NUMBER: Final = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,2})?"
_GATE: Final = re.compile(
    rf"""\s*(?P<metric>[A-Za-z_][\w.]*)\s*(?P<comparison><=|>=|<|>)\s*
    (?:(?P<number>{_NUMBER})
    |(?P<model>{BASELINE}|{REFERENCE})(?:\s*(?P<operation>[-+*])\s*(?P<amount>{_NUMBER}))?)\s*""",
    re.VERBOSE | re.ASCII,
)
_MAX_CHARACTERS: Final = 200


@dataclass(frozen=True)
class Expression:
    """A gate's sentence.

    Attributes:
        metric: name of what is compared.
        comparison: one of ``<``, ``<=``, ``>``, ``>=``.
        model: whose value the bound starts from; ``None``: it is a number.
        operation: what is done with that value: ``+``, ``-`` or ``*``.
        number: the bound, or what is added, taken away or multiplied with.
    """

    metric: str
    comparison: str
    model: str | None
    operation: str
    number: float

    @property
    def rule(self) -> str:
        """Everything but the metric, as people write it."""
        if self.model is None:
            return f"{self.comparison} {self.number:g}"
        change = (self.operation, self.number)
        return f"{self.comparison} {self.model}" + (
            "" if change == ("+", 0.0) else f" {self.operation} {self.number:g}"
        )

    @property
    def more_is_better(self) -> bool:
        """Whether the gate asks for large values."""
        return self.comparison.startswith(">")

    def bound(self, value: float | None) -> float | None:
        """Return the bound, given the value of :attr:`model`; ``None`` where that is not known."""
        if self.model is None:
            return self.number
        if value is None:
            return None
        change = {"+": value + self.number, "-": value - self.number, "*": value * self.number}
        return change[self.operation]

    def holds(self, value: float, bound: float) -> bool:
        """Return whether a value keeps the bound; what is not a number keeps none."""
        if math.isnan(value):
            return False
        keeps = {"<": value < bound, "<=": value <= bound, ">": value > bound, ">=": value >= bound}
        return keeps[self.comparison]


def parse(text: str) -> Expression:
    """Read a gate's sentence.

    Raises:
        ValueError: it is none.
    """
    match = _GATE.fullmatch(text) if len(text) <= _MAX_CHARACTERS else None
    if match is None:
        raise ValueError(
            f"{text!r:.{_MAX_CHARACTERS}} is not understood; write METRIC >= NUMBER (or <=, <, >), where NUMBER may "
            f"be {BASELINE} or {REFERENCE}, plus, minus or times a number: metrics.mAP >= {BASELINE} - 0.01"
        )
    return Expression(
        metric=match["metric"],
        comparison=match["comparison"],
        model=match["model"],
        operation=match["operation"] or "+",
        number=float(match["number"] or match["amount"] or 0.0),
    )
