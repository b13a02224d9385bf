"""The parity check that a graph computes what the PyTorch model computes, on a clip that moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.errors import ParityError
from bevformer_lib.export.clip import CLIP_FRAMES, clip_frame
from bevformer_lib.fidelity import relative_difference
from bevformer_lib.names import (
    CAN_BUS_POSITION,
    CAN_BUS_YAW_DEG,
    INPUT_CAN_BUS,
    INPUT_IMG,
    INPUT_LIDAR2IMG,
    INPUT_NAMES,
    INPUT_PREV_BEV,
    OUTPUT_BEV_EMBED,
    OUTPUT_NAMES,
)
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.host import HostPreparation
from bevformer_lib.runtime.host_geometry import with_host_geometry
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.scenes.types import FrameInputs

TOLERANCE: Final = 1e-4
"""Largest norm of the difference over norm, per output and frame.

ONNX Runtime and PyTorch sum in different orders: 1e-6 to 1e-5 on the published models. Where a sample falls on the edge
of a cell or of an image, one of them may take the other side, which moves single values by up to 3e-3; a norm over the
whole tensor stays below this bound, the largest difference would not.
"""

MIN_EFFECT: Final = 10 * TOLERANCE
"""How far the history and the ego motion must move ``bev_embed``: well beyond anything that rounding explains."""

PROOF_SEED: Final = 20
_MOTION_FRAME: Final = 1
"""The frame on which the effects are measured: the first one with a history."""

Tensors = dict[str, NDArray[Any]]
"""Arrays by the graph's names."""


@dataclass(frozen=True)
class ParityFigure:
    """How far one output of one frame is off: norm of the difference over norm."""

    frame: int
    output: str
    relative_difference: float


@dataclass(frozen=True)
class ParityReport:
    """What the parity check measured.

    Attributes:
        tolerance: the bound that every figure keeps.
        figures: one per frame and output, in that order.
        history_effect: relative change of ``bev_embed`` when the history is replaced by zeros.
        motion_effect: relative change of ``bev_embed`` when the car is said to stand still.
    """

    tolerance: float
    figures: tuple[ParityFigure, ...]
    history_effect: float
    motion_effect: float

    def worst(self, output: str) -> float:
        """Return the largest figure of an output."""
        return max(figure.relative_difference for figure in self.figures if figure.output == output)


def check_parity(
    model: nn.Module, graph: Path, config: ModelConfig, *, on_progress: ProgressCallback = no_progress
) -> ParityReport:
    """Run a clip through both, each with its own ``bev_embed`` fed back as ``prev_bev``, and compare every output.

    Args:
        model: the PyTorch model, in evaluation mode.
        graph: the ONNX file.
        config: the configuration of both.
        on_progress: told after each frame.

    Returns:
        The figures, all within the tolerance.

    Raises:
        ParityError: an output of a frame is too far off, or the history or the ego motion has no effect.
        RuntimeUnavailableError: ONNX Runtime can't load the graph.
    """
    references = _run_clip(model, config, on_progress)
    # Opened only now: the activations of the two would otherwise be in memory together.
    runtime = with_host_geometry(OnnxRuntime(graph, keep_memory=False), source=str(graph))
    history = _no_history(config)
    figures: list[ParityFigure] = []
    effects = (0.0, 0.0)
    for index, reference in enumerate(references):
        feed = HostPreparation(config.img_norm).feed(
            _feed(clip_frame(config, index, seed=PROOF_SEED), history), runtime.inputs
        )
        outputs = runtime.run(feed)
        figures += _compare(index, outputs, reference)
        if index == _MOTION_FRAME:
            effects = _effects(runtime, feed, outputs[OUTPUT_BEV_EMBED])
        history = outputs[OUTPUT_BEV_EMBED]
        on_progress("parity check: ONNX Runtime", index + 1, CLIP_FRAMES)
    return ParityReport(TOLERANCE, tuple(figures), *effects)


def _run_clip(model: nn.Module, config: ModelConfig, on_progress: ProgressCallback) -> list[Tensors]:
    """Return what the PyTorch model makes of every frame, its own ``bev_embed`` fed back."""
    history = _no_history(config)
    results: list[Tensors] = []
    for index in range(CLIP_FRAMES):
        feed = _feed(clip_frame(config, index, seed=PROOF_SEED), history)
        with torch.inference_mode():
            outputs = model(*(torch.from_numpy(feed[name]) for name in INPUT_NAMES))
        results.append({name: output.numpy() for name, output in zip(OUTPUT_NAMES, outputs, strict=True)})
        history = results[-1][OUTPUT_BEV_EMBED]
        on_progress("parity check: PyTorch", index + 1, CLIP_FRAMES)
    return results


def _no_history(config: ModelConfig) -> NDArray[np.float32]:
    return np.zeros((config.num_bev_cells, 1, config.embed_dims), dtype=np.float32)


def _feed(frame: FrameInputs, history: NDArray[np.float32]) -> Tensors:
    return {
        INPUT_IMG: frame.img,
        INPUT_CAN_BUS: frame.can_bus,
        INPUT_LIDAR2IMG: frame.lidar2img,
        INPUT_PREV_BEV: history,
    }


def _compare(frame: int, outputs: Tensors, reference: Tensors) -> list[ParityFigure]:
    figures = [
        ParityFigure(frame, name, relative_difference(outputs[name], expected)) for name, expected in reference.items()
    ]
    for figure in figures:
        if not figure.relative_difference <= TOLERANCE:
            raise ParityError(
                f"output {figure.output!r} of frame {figure.frame} is off by {figure.relative_difference:.2e} "
                f"(norm of the difference over norm; at most {TOLERANCE:.0e} is allowed): the graph does not compute "
                "what the PyTorch model computes, so it is not kept. Check the checkpoint, and the versions of torch, "
                "onnxsim and onnxruntime"
            )
    return figures


def _effects(runtime: Runtime, feed: Tensors, bev_embed: NDArray[Any]) -> tuple[float, float]:
    """Return how far ``bev_embed`` moves without the history, and without the ego motion."""
    standing = feed[INPUT_CAN_BUS].copy()
    standing[:, CAN_BUS_POSITION] = standing[:, CAN_BUS_YAW_DEG] = 0.0
    changed = {INPUT_PREV_BEV: np.zeros_like(feed[INPUT_PREV_BEV]), INPUT_CAN_BUS: standing}
    effects = []
    for name, value in changed.items():
        effect = relative_difference(runtime.run({**feed, name: value})[OUTPUT_BEV_EMBED], bev_embed)
        if not effect >= MIN_EFFECT:
            raise ParityError(
                f"input {name!r} has no effect: {OUTPUT_BEV_EMBED!r} of frame {_MOTION_FRAME} moves by {effect:.1e} "
                f"without it, at least {MIN_EFFECT:.0e} is expected; its value was frozen while tracing, or the "
                "checkpoint does not use it"
            )
        effects.append(effect)
    return effects[0], effects[1]
