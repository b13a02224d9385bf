"""The search for the cheapest set of groups to keep, given a function that measures a set.

1. Does everything quantised hold the thresholds? Then nothing is kept.
2. Every group alone is quantised, on a few frames: its error, without the others'.
3. Errors of groups are nearly independent, so that their squares add up: the groups are sorted by squared error per
   multiply-accumulate, and the shortest beginning of that list that holds the thresholds is found by halving.
4. Whatever need not be kept is given up again, from the other end of that list: large blocks first, halves of these
   where a block is needed. What is left is minimal: the thresholds are missed when any one of them is given up.

5. Groups that are kept may be searched again, layer by layer, as in step 4.

All steps but 2 run whole scenes. Steps 3 to 5 suppose that keeping more never makes a model worse; where that is not so
the result still holds the thresholds, for it was run, but may not be the smallest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from bevformer_lib.precision.groups import LayerGroup

Kept: TypeAlias = frozenset[str]
Holds: TypeAlias = Callable[[Kept], bool]
"""Whether the thresholds hold over whole scenes with these groups kept."""
ErrorOf: TypeAlias = Callable[[Kept], float]
"""The error over a few frames with these groups kept; infinite where a value is not finite."""


class PrecisionSearch:
    """A search that can be interrupted (by an exception from its questions) and asked what it had found.

    Attributes:
        best: the cheapest set known to hold the thresholds; ``None``: none known yet.
        sensitivity: error of every group quantised alone, as far as measured.
        minimal: whether the search came to its end.
    """

    def __init__(self, groups: Sequence[LayerGroup], holds: Holds, error_of: ErrorOf) -> None:
        self.best: Kept | None = None
        self.sensitivity: dict[str, float] = {}
        self.minimal = False
        self._groups = {group.name: group for group in groups}
        self._holds = holds
        self._error_of = error_of
        self._answers: dict[Kept, bool] = {}

    def run(self) -> None:
        """Search to the end; what was found is in the attributes. Finds nothing where keeping all does not hold."""
        everything = frozenset(self._groups)
        if not self._ask(frozenset()) and self._ask(everything):
            for name in self._groups:
                self.sensitivity[name] = self._error_of(everything - {name})
            order = ranked(self._groups, self.sensitivity)
            kept = self._shortest_beginning(order)
            self._give_up(kept, [name for name in reversed(order) if name in kept])
        self.minimal = True

    def shrink(self) -> None:
        """Give up what need not be kept, of all groups, which are known to hold the thresholds; the costliest first."""
        order = sorted(self._groups.values(), key=lambda group: group.macs, reverse=True)
        self.best = frozenset(self._groups)
        self._give_up(self.best, [group.name for group in order])
        self.minimal = True

    def _ask(self, kept: Kept) -> bool:
        if kept not in self._answers:
            self._answers[kept] = self._holds(kept)
            if self._answers[kept] and (self.best is None or self._cost(kept) <= self._cost(self.best)):
                self.best = kept
        return self._answers[kept]

    def _cost(self, kept: Kept) -> tuple[int, int]:
        return sum(self._groups[name].macs for name in kept), len(kept)

    def _shortest_beginning(self, order: Sequence[str]) -> Kept:
        """Return the shortest beginning of ``order`` that holds; none does not, and all of it does."""
        fails, holds = 0, len(order)
        while holds - fails > 1:
            middle = (fails + holds) // 2
            if self._ask(frozenset(order[:middle])):
                holds = middle
            else:
                fails = middle
        return frozenset(order[:holds])

    def _give_up(self, kept: Kept, block: Sequence[str]) -> Kept:
        """Give up as much of ``block`` as the thresholds allow; return what is kept then."""
        if self._ask(kept - set(block)):
            return kept - set(block)
        if len(block) > 1:
            middle = len(block) // 2
            for half in (block[:middle], block[middle:]):
                kept = self._give_up(kept, half)
        return kept


def ranked(groups: Mapping[str, LayerGroup], errors: Mapping[str, float]) -> list[str]:
    """Return names by squared error per multiply-accumulate, largest first; unbounded errors before all others."""

    def density(name: str) -> tuple[float, str]:
        error = errors[name]
        return (math.inf if math.isinf(error) else error**2 / max(groups[name].macs, 1)), name

    return sorted(groups, key=density, reverse=True)
