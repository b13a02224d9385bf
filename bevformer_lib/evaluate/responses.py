"""How two models' ``bev_embed`` responds when a frame's inputs are changed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.names import (
    INPUT_CAN_BUS,
    INPUT_IMG,
    INPUT_LIDAR2IMG,
    INPUT_PREV_BEV,
    OUTPUT_BEV_EMBED,
)
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.host import HostPreparation
from bevformer_lib.scenes.types import FrameInputs

Array = NDArray[np.float32]


class Responses:
    """Both models' ``bev_embed`` of a frame, (cells, channels) float64, and how it responds to changed inputs."""

    def __init__(
        self, feed: Mapping[str, Array], reference: Runtime, candidate: Runtime, preparation: HostPreparation
    ) -> None:
        self._feed = feed
        self._models = reference, candidate
        self._preparation = preparation
        self.reference, self.candidate = (self._run(model, {}) for model in self._models)
        self.norm = norm(self.reference)

    @property
    def error(self) -> float:
        """Relative error of the candidate's ``bev_embed``."""
        return norm(self.candidate - self.reference) / self.norm if self.norm else 0.0

    def answers(
        self, change: Mapping[str, Array], seen: Mapping[str, Array] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return by how much ``bev_embed`` of the reference and of the candidate changes.

        Args:
            change: inputs that are changed for both.
            seen: inputs that the reference is given instead of the frame's, with and without the change.
        """
        reference, candidate = self._models
        unchanged = self._run(reference, seen) if seen else self.reference
        expected = self._run(reference, {**(seen or {}), **change}) - unchanged
        return expected, self._run(candidate, change) - self.candidate

    def left(self, change: Mapping[str, Array]) -> float:
        """Return the candidate's relative error against the reference that is fed the change."""
        expected = self._run(self._models[0], change)
        length = norm(expected)
        return norm(self.candidate - expected) / length if length else np.inf

    def _run(self, model: Runtime, change: Mapping[str, Array]) -> NDArray[np.float64]:
        feed = self._preparation.feed({**self._feed, **change}, model.inputs)
        bev = np.asarray(model.run(feed)[OUTPUT_BEV_EMBED], dtype=np.float64)
        return bev.reshape(-1, bev.shape[-1])


def frame_feed(inputs: FrameInputs, prev_bev: Array) -> dict[str, Array]:
    """Return the four inputs of a BEVFormer graph."""
    return {
        INPUT_IMG: inputs.img,
        INPUT_CAN_BUS: inputs.can_bus,
        INPUT_LIDAR2IMG: inputs.lidar2img,
        INPUT_PREV_BEV: prev_bev,
    }


def norm(values: NDArray[np.float64]) -> float:
    """Return the Euclidean norm of all values."""
    return float(np.linalg.norm(values))
