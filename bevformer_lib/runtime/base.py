"""The joint between a compiled model and whatever executes it (ONNX Runtime, the board, a simulator)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

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

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Execute the model once and return all its outputs by name."""


@runtime_checkable
class CarriesMetadata(Protocol):
    """A runtime whose model format holds what the exporter wrote about the graph; compiled formats lose it."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """The graph's ``metadata_props``, key -> value."""
