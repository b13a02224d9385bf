"""The joint between a compiled model and whatever executes it (ONNX Runtime, the board, a simulator)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a compiled model; every shape is static."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Runtime(Protocol):
    """A loaded model. Outputs are matched by name, never by position."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The model's inputs by name."""

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """The model's outputs by name."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the exporter wrote about the graph, key -> value; empty where the model's format has lost it."""

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Execute the model once and return all its outputs by name."""
