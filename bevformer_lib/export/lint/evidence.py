"""How something about the converter is known: from its documentation, or seen in a build or on a card."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """Where the knowledge comes from, the firmest last."""

    DOCUMENTED = "documented"
    """The vendor's documentation or the ONNX standard says so; no trial is known."""
    COMPILER = "seen in the compiler"
    """A real build did it."""
    CARD = "seen on the card"
    """A compiled model did it on a device (AX650N, or AX8850 running files for AX650)."""


@dataclass(frozen=True)
class Evidence:
    """A level, and the version for which it holds.

    Attributes:
        level: where it comes from.
        version: of Pulsar2, as in ``7.0``; ``6.0 or 7.0`` where the source does not say which; ``any`` for what
            follows from the ONNX standard or from what an NPU model is.
    """

    level: Level
    version: str

    def __str__(self) -> str:
        return f"{self.level.value}, {'any version' if self.version == 'any' else f'Pulsar2 {self.version}'}"


STANDARD = Evidence(Level.DOCUMENTED, "any")
"""What the ONNX standard demands, or a static graph."""
LISTED = Evidence(Level.DOCUMENTED, "7.0")
"""What the operator lists of the documentation say, edition 2026-07."""
COMPILED_6 = Evidence(Level.COMPILER, "6.0")
COMPILED_7 = Evidence(Level.COMPILER, "7.0")
COMPILED_6_OR_7 = Evidence(Level.COMPILER, "6.0 or 7.0")
"""Whoever saw it did not say in which of the two."""
ON_CARD_7 = Evidence(Level.CARD, "7.0")
ON_CARD_6_OR_7 = Evidence(Level.CARD, "6.0 or 7.0")
