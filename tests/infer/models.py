"""A model of known boxes, made of a function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.inference_config import inference_config_of
from bevformer_lib.runtime.base import TensorSpec
from tests.support.fake_runtime import FakeRuntime
from tests.support.micro import micro_config

CONFIG = inference_config_of(micro_config())
BEV = (CONFIG.bev_h * CONFIG.bev_w, 1, CONFIG.embed_dims)
LOGIT = {0: 2.0, 1: 0.0, 2: -3.0}
"""Logits of the three queries that say anything: scores 0.88, 0.5, 0.05."""


def fake_runtime() -> FakeRuntime:
    """Three boxes of known score, 10 m ahead; ``bev_embed`` counts the frames since the scene's first."""

    def function(feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        classes = np.full((2, 1, CONFIG.num_query, CONFIG.num_classes), -20, np.float32)
        coords = np.zeros((2, 1, CONFIG.num_query, 10), np.float32)
        coords[..., 1] = 10
        coords[..., 2:4] = np.log((2, 4))
        coords[..., 4:6] = -1, np.log(1.5)
        coords[..., 6:10] = 0, 1, 3, -4
        coords[..., 0] = feed["prev_bev"].flat[0]
        for query, logit in LOGIT.items():
            classes[-1, 0, query, query] = logit
        return {"bev_embed": feed["prev_bev"] + 1, "outputs_classes": classes, "outputs_coords": coords}

    inputs = {"img": (1, 6, 3, 96, 160), "can_bus": (1, 18), "lidar2img": (1, 6, 4, 4), "prev_bev": BEV}
    layers = (2, 1, CONFIG.num_query)
    outputs = {"bev_embed": BEV, "outputs_classes": (*layers, CONFIG.num_classes), "outputs_coords": (*layers, 10)}
    return FakeRuntime(inputs, outputs, function)


def pixel_runtime() -> FakeRuntime:
    """The same, but its ``img`` is uint8 pixels."""
    runtime = fake_runtime()
    runtime.inputs["img"] = TensorSpec("img", runtime.inputs["img"].shape, np.dtype(np.uint8))
    return runtime
