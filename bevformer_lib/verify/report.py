"""What a comparison with the original found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

PYTORCH: Final = "PyTorch"
ONNX: Final = "ONNX"


@dataclass(frozen=True)
class TensorComparison:
    """One tensor of one frame against the original's.

    Attributes:
        frame: the frame's number in its file names.
        candidate: ``PYTORCH`` or ``ONNX``.
        shape: the original's.
        relative_l2: norm of the difference over the norm of the original's; infinite where the shapes differ or a value
            is not finite.
    """

    scene: str
    frame: int
    candidate: str
    tensor: str
    shape: tuple[int, ...]
    relative_l2: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; an infinite difference is ``None``."""
        return {
            "scene": self.scene,
            "frame": self.frame,
            "candidate": self.candidate,
            "tensor": self.tensor,
            "shape": list(self.shape),
            "relative_l2": self.relative_l2 if math.isfinite(self.relative_l2) else None,
        }


@dataclass(frozen=True)
class VerifyReport:
    """All comparisons.

    Attributes:
        tolerance: largest ``relative_l2`` that is no divergence.
        versions: of the packages that the original ran on.
        comparisons: by frame, by candidate, and then in the order in which the network computes the tensors.
    """

    tolerance: float
    frames: int
    versions: Mapping[str, str]
    comparisons: tuple[TensorComparison, ...]

    @property
    def candidates(self) -> tuple[str, ...]:
        """What was compared with the original."""
        return tuple(dict.fromkeys(comparison.candidate for comparison in self.comparisons))

    @property
    def tensors(self) -> tuple[str, ...]:
        """All tensors, in the order in which the network computes them."""
        return tuple(dict.fromkeys(comparison.tensor for comparison in self.comparisons))

    def first_divergence(self, candidate: str) -> TensorComparison | None:
        """Return the first tensor beyond the tolerance: in the earliest frame, the earliest in the network."""
        beyond = (item for item in self.comparisons if item.candidate == candidate and not self.within(item))
        return next(beyond, None)

    def worst(self, candidate: str, tensor: str) -> TensorComparison | None:
        """Return the frame on which a tensor is farthest off, or ``None`` where it was not compared."""
        found = [item for item in self.comparisons if item.candidate == candidate and item.tensor == tensor]
        return max(found, key=lambda item: item.relative_l2, default=None)

    def within(self, comparison: TensorComparison) -> bool:
        """Return whether a figure keeps the tolerance."""
        return comparison.relative_l2 <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        firsts = {candidate: self.first_divergence(candidate) for candidate in self.candidates}
        return {
            "tolerance": self.tolerance,
            "frames": self.frames,
            "versions": dict(self.versions),
            "first_divergence": {name: None if item is None else item.to_dict() for name, item in firsts.items()},
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
        }
