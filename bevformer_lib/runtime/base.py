"""The joint between a compiled model and whatever executes it (ONNX Runtime, the board, a simulator)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import RuntimeUnavailableError


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a compiled model; every shape is static."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def num_bytes(self) -> int:
        """Size of its values."""
        return math.prod(self.shape) * self.dtype.itemsize


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


@dataclass(frozen=True)
class RuntimeOptions:
    """How a runtime is to run a model; ``None``: its own choice. None has all of these options.

    Attributes:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: threads inside an operator.
        image: docker image of a simulator.
        executable: native command of a simulator.
        npu: ``board``, ``card`` or ``card:N``.
    """

    device: str | None = None
    threads: int | None = None
    image: str | None = None
    executable: Path | None = None
    npu: str | None = None

    def refuse(self, why: str, *names: str) -> None:
        """Check that options are not given.

        Raises:
            RuntimeUnavailableError: one is.
        """
        for name in names:
            value = getattr(self, name)
            if value is not None:
                raise RuntimeUnavailableError(f"{name} {value}: {why}; leave --{name} out")
