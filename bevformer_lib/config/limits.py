"""How much a config file may build; far above what real ones need, far below what hurts."""

from __future__ import annotations

from typing import Any, Final

MAX_BYTES: Final = 1 << 20
"""Size of the largest config file; published ones have about 10 kB."""
MAX_FILES: Final = 64
"""Files that a config may be made of, counted as often as they are read."""
MAX_NODES: Final = 500_000
"""Numbers, strings and containers that one file may build; published configs need about two thousand."""
MAX_DEPTH: Final = 100
"""Nesting of expressions and of values; published configs reach about fifteen."""
MAX_INTEGER_BITS: Final = 1024
"""Size of the largest integer; also that of a float's exponent range."""
MAX_COUNT: Final = 1 << 20
"""Largest size or count (cells, channels, queries, layers) of a model; published ones stay below 2048."""
_CHARACTERS_PER_NODE: Final = 16


def measure(value: Any) -> tuple[int, int]:
    """Return the size of ``value`` in nodes and its nesting depth; shared parts count every time they occur.

    Stops counting once one of the limits is passed, so a value that contains itself is measured too.
    """
    nodes, deepest = 0, 0
    pending = [(value, 1)]
    while pending and nodes <= MAX_NODES and deepest <= MAX_DEPTH:
        item, depth = pending.pop()
        nodes += 1
        deepest = max(deepest, depth)
        if isinstance(item, str):
            nodes += len(item) // _CHARACTERS_PER_NODE
        elif isinstance(item, dict):
            pending.extend((child, depth + 1) for child in item.values())
            nodes += len(item)
        elif isinstance(item, (list, tuple)):
            pending.extend((child, depth + 1) for child in item)
    return nodes, deepest
