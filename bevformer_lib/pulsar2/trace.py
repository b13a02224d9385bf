"""The converter's own profile of a compiled graph, by layer (``--compiler.npu_perf``).

``op_profile.csv`` has a line per scheduled piece of an operator: its name (``op_12:/encoder/MatMul_s0_gop``; ``ld:``
and ``st:`` before those that move data), type and cycles of a model of the NPU at 1 GHz. A card took 1.05 to 1.17 times
as long.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bevformer_lib.errors import ConversionError
from bevformer_lib.pulsar2.missing_layers import FUSED_NAME

CYCLES_PER_MS: Final = 1e6
"""The cycle model's clock is 1 GHz."""
REAL_TIME: Final = (1.05, 1.17)
"""A card's time over that of the cycle model, as measured by third parties (6.0)."""
_PROFILES: Final = "compiler/debug/subgraph_npu_*/b1/op_profile.csv"
_MOVES: Final = re.compile(r"^(ld|st):")
_PIECE: Final = re.compile(r"_s\d+(_(gop|sp))?(_\d+)*$")


@dataclass(frozen=True)
class LayerCycles:
    """What a layer takes on the NPU.

    Attributes:
        layer: its name in the graph, without what fusion put before it.
        kind: type of the operator that the compiler made of it.
        cycles: of all its pieces, loads and stores included.
    """

    layer: str
    kind: str
    cycles: float

    def to_content(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def read_layer_cycles(folder: Path, layers: Collection[str]) -> tuple[LayerCycles, ...]:
    """Return the cycles of every layer, the most first; empty: the build was not profiled.

    Args:
        folder: the build's output folder.
        layers: names of the operators that were built, to tell them from the pieces they were cut into.

    Raises:
        ConversionError: a profile can't be read.
    """
    known = sorted(layers, key=len, reverse=True)
    totals: dict[str, tuple[str, float]] = {}
    for path in sorted(folder.glob(_PROFILES)):
        try:
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    piece = FUSED_NAME.sub("", _MOVES.sub("", row["op"]))
                    layer = next((name for name in known if _is_piece_of(piece, name)), _PIECE.sub("", piece))
                    kind, cycles = totals.get(layer, (row["type"], 0.0))
                    totals[layer] = (kind, cycles + float(row["cycles"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConversionError(f"{path}: is no profile of the converter ({error!r})") from error
    rows = [LayerCycles(layer, kind, cycles) for layer, (kind, cycles) in totals.items()]
    return tuple(sorted(rows, key=lambda row: -row.cycles))


def estimated_ms(max_cycle: Collection[int]) -> tuple[float, float] | None:
    """Return between which times a frame takes on a card, in milliseconds; ``None``: no cycles are known."""
    if not max_cycle:
        return None
    ms = sum(max_cycle) / CYCLES_PER_MS
    return ms * REAL_TIME[0], ms * REAL_TIME[1]


def _is_piece_of(piece: str, layer: str) -> bool:
    return piece == layer or (piece.startswith(layer) and piece[len(layer)] in "_[")
