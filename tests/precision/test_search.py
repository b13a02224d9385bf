from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from bevformer_lib.precision.groups import LayerGroup
from bevformer_lib.precision.search import Kept, PrecisionSearch


class World:
    """Groups whose squared errors add up, and a bar on the sum; counts what it is asked."""

    def __init__(self, errors: dict[str, float], bar: float, macs: dict[str, int] | None = None) -> None:
        self.errors, self.bar = errors, bar
        self.groups = [LayerGroup(name, (name,), (macs or {}).get(name, 100)) for name in errors]
        self.asked: list[Kept] = []
        self.probed: list[Kept] = []

    def total(self, kept: Kept) -> float:
        return math.sqrt(sum(error**2 for name, error in self.errors.items() if name not in kept))

    def holds(self, kept: Kept) -> bool:
        self.asked.append(kept)
        return self.total(kept) <= self.bar

    def error_of(self, kept: Kept) -> float:
        self.probed.append(kept)
        return self.total(kept)

    def search(self) -> PrecisionSearch:
        search = PrecisionSearch(self.groups, self.holds, self.error_of)
        search.run()
        return search


def test_planted_groups_are_found_exactly() -> None:
    errors = {f"g{number}": 0.001 for number in range(30)} | {"g3": 0.5, "g17": 0.2, "g28": 0.9}
    world = World(errors, bar=0.05)
    search = world.search()
    assert search.best == {"g3", "g17", "g28"}
    assert search.minimal
    assert len(world.asked) <= 14
    assert len(set(world.asked)) == len(world.asked)


def test_a_set_that_holds_is_shrunk() -> None:
    errors = {f"l{number}": 0.001 for number in range(20)} | {"l7": 0.5, "l19": 0.4}
    world = World(errors, bar=0.05)
    search = PrecisionSearch(world.groups, world.holds, world.error_of)
    search.shrink()
    assert search.best == {"l7", "l19"}
    assert search.minimal
    assert len(world.asked) <= 20
    assert world.probed == []


def test_a_group_is_split_into_its_layers() -> None:
    group = LayerGroup("g", ("a", "b"), 30, (10, 20))
    assert group.split() == (LayerGroup("a", ("a",), 10), LayerGroup("b", ("b",), 20))
    assert group.split()[0].split() == group.split()[:1]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_found_holds_and_nothing_of_it_can_be_given_up(seed: int) -> None:
    random = np.random.RandomState(seed)
    names = [f"g{number}" for number in range(9)]
    errors = dict(zip(names, random.exponential(0.05, 9).tolist(), strict=True))
    macs = dict(zip(names, random.randint(1, 1000, 9).tolist(), strict=True))
    world = World(errors, bar=0.08, macs=macs)
    best = world.search().best
    assert best is not None
    assert world.total(best) <= world.bar
    for name in best:
        assert world.total(best - {name}) > world.bar
    cheapest = min(
        sum(macs[name] for name in kept)
        for size in range(10)
        for kept in itertools.combinations(names, size)
        if world.total(frozenset(kept)) <= world.bar
    )
    assert sum(macs[name] for name in best) <= 2.0 * cheapest + 100


def test_nothing_is_kept_where_nothing_is_needed() -> None:
    world = World({"a": 0.1, "b": 0.1}, bar=1.0)
    assert world.search().best == frozenset()
    assert world.asked == [frozenset()]
    assert world.probed == []


def test_a_bar_out_of_reach_finds_nothing() -> None:
    world = World({"a": 0.1, "b": 0.1}, bar=-1.0)
    search = world.search()
    assert search.best is None
    assert search.minimal


def test_an_unbounded_error_comes_first() -> None:
    world = World({"a": 0.3, "b": math.inf, "c": 0.001}, bar=0.01)
    assert world.search().best == {"a", "b"}


def test_an_interrupted_search_knows_what_it_had_found() -> None:
    world = World({f"g{number}": 0.1 for number in range(8)}, bar=0.15)
    searches = []

    def holds(kept: Kept) -> bool:
        if len(world.asked) == 3:
            raise TimeoutError
        return world.holds(kept)

    searches.append(PrecisionSearch(world.groups, holds, world.error_of))
    with pytest.raises(TimeoutError):
        searches[0].run()
    assert searches[0].best is not None
    assert world.total(searches[0].best) <= world.bar
    assert not searches[0].minimal
