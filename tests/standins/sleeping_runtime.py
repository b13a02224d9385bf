"""A model that takes as long as an NPU does and leaves the processor alone; its boxes lie all around the car."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.inference_config import InferenceConfig
from bevformer_lib.names import OUTPUT_BEV_EMBED, OUTPUT_CLASSES, OUTPUT_COORDS
from bevformer_lib.runtime.base import TensorSpec

TINY_SECONDS: Final = 0.091
"""What BEVFormer-Tiny is said to take on an AX650."""
_SURE, _UNSURE = 0.0, -6.0
"""Logits: of scores 0.5 and 0.002."""


class SleepingRuntime:
    """Gives the same boxes of ordinary size for every frame, after ``seconds`` of sleep."""

    def __init__(
        self,
        config: InferenceConfig,
        image_hw: tuple[int, int],
        *,
        seconds: float = TINY_SECONDS,
        boxes: int = 30,
        pixels: bool = False,
    ) -> None:
        """Make a model of ``config`` that is sure of some boxes; ``pixels``: it takes uint8 images."""
        bev, layers = (config.bev_h * config.bev_w, 1, config.embed_dims), 6
        shapes = {"img": (1, 6, 3, *image_hw), "can_bus": (1, 18), "lidar2img": (1, 6, 4, 4), "prev_bev": bev}
        types = {name: np.dtype(np.uint8 if pixels and name == "img" else np.float32) for name in shapes}
        self.inputs = {name: TensorSpec(name, shape, types[name]) for name, shape in shapes.items()}
        rng = np.random.default_rng(0)
        classes = np.full((layers, 1, config.num_query, config.num_classes), _UNSURE, np.float32)
        classes[..., np.arange(boxes), rng.integers(0, config.num_classes, boxes)] = _SURE
        coords = np.zeros((layers, 1, config.num_query, 10), np.float32)
        angle, distance = rng.uniform(0, 2 * np.pi, config.num_query), rng.uniform(6, 50, config.num_query)
        coords[..., 0], coords[..., 1] = distance * np.cos(angle), distance * np.sin(angle)
        coords[..., 2:4] = np.log(rng.uniform(0.6, 4.5, (config.num_query, 2)))
        coords[..., 4:6] = -1.0, np.log(1.6)
        coords[..., 6:8] = rng.normal(size=(config.num_query, 2))
        coords[..., 8:] = rng.normal(scale=4, size=(config.num_query, 2))
        self._results = {
            OUTPUT_BEV_EMBED: rng.standard_normal(bev, dtype=np.float32),
            OUTPUT_CLASSES: classes,
            OUTPUT_COORDS: coords,
        }
        self.outputs = {name: TensorSpec(name, array.shape, array.dtype) for name, array in self._results.items()}
        self.metadata: Mapping[str, str] = {}
        self._seconds = seconds

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Sleep, and return the boxes."""
        assert feed.keys() == self.inputs.keys()
        time.sleep(self._seconds)
        return dict(self._results)
