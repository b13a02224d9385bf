"""A runtime made of a Python function, to test loops without any model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.runtime.base import TensorSpec

Shapes = Mapping[str, tuple[int, ...]]


class FakeRuntime:
    """Runs ``function``; remembers every feed."""

    def __init__(
        self,
        inputs: Shapes,
        outputs: Shapes,
        function: Callable[[Mapping[str, NDArray[Any]]], dict[str, NDArray[Any]]],
        dtype: type[np.generic] = np.float32,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.inputs = {name: TensorSpec(name, shape, np.dtype(dtype)) for name, shape in inputs.items()}
        self.outputs = {name: TensorSpec(name, shape, np.dtype(dtype)) for name, shape in outputs.items()}
        self.metadata: Mapping[str, str] = metadata or {}
        self.feeds: list[dict[str, NDArray[Any]]] = []
        self._function = function

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.feeds.append(dict(feed))
        return self._function(feed)


BEV_SHAPE = (6, 1, 4)
MICRO_INPUTS: Shapes = {
    "img": (1, 6, 3, 8, 16),
    "can_bus": (1, 18),
    "lidar2img": (1, 6, 4, 4),
    "prev_bev": BEV_SHAPE,
}
MICRO_OUTPUTS: Shapes = {
    "bev_embed": BEV_SHAPE,
    "outputs_classes": (2, 1, 5, 10),
    "outputs_coords": (2, 1, 5, 10),
}


def counting_runtime(dtype: type[np.generic] = np.float32) -> FakeRuntime:
    """Return a runtime whose ``bev_embed`` is ``prev_bev + 1``: it counts frames with a prev_bev state."""

    def function(feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {
            "outputs_coords": np.zeros(MICRO_OUTPUTS["outputs_coords"], dtype),
            "outputs_classes": np.zeros(MICRO_OUTPUTS["outputs_classes"], dtype),
            "bev_embed": feed["prev_bev"] + dtype(1),  # type: ignore[call-arg]
        }

    return FakeRuntime(MICRO_INPUTS, MICRO_OUTPUTS, function, dtype)
