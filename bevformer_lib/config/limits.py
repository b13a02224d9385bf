"""How much a config file may build, and how large its model may be.

Far above what real ones need, far below what hurts. The largest published model is base.
"""

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
"""Largest single size or count of a model; published ones stay below 2048."""
MAX_LAYERS: Final = 64
"""Largest number of layers of one kind, or of feature levels; base has six and four."""
MAX_CAMERAS: Final = 64
"""Most cameras; published models have six."""
MAX_BASE_CHANNELS: Final = 256
"""Most channels of the backbone's stem, of which its deepest layers have eight and 32 times as many; base has 64."""
MAX_BEV_CELLS: Final = 1 << 18
"""Most cells of the BEV map; base has 40,000."""
MAX_PIXELS: Final = 1 << 24
"""Most pixels of one padded image; base's has 1.5 million."""
MAX_FEATURES: Final = 1 << 32
"""Pixels of all images times channels of the stem, four times the stem's values; base has 570 million."""
MAX_WEIGHTS: Final = 1 << 26
"""Weights of one kind in all layers together, or rows times channels of an embedding; base has up to ten million."""
MAX_SAMPLES: Final = 1 << 28
"""Sampled positions, or attention weights, of one layer; base has up to ten million."""
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
