"""PyTorch to the raw ONNX graph."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Final

import torch
from torch import nn

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.errors import ExportError
from bevformer_lib.export.clip import clip_frame
from bevformer_lib.export.graph import OPSET
from bevformer_lib.export.intermediate_outputs import named_tensors, named_tensors_put_out
from bevformer_lib.names import INPUT_NAMES, OUTPUT_NAMES

EXPORTER: Final = "torch.onnx.export(dynamo=False)"
"""TorchScript tracing; docs/exporter-choice.md holds the figures behind the choice."""

_TRACE_SEED: Final = 10
"""Not the proof's: a value of the traced frame that stayed in the graph must not meet the same frame again there."""

_LOGGER = logging.getLogger(__name__)


def trace_model(model: nn.Module, config: ModelConfig, path: Path) -> None:
    """Write a model's raw graph: fixed shapes, inputs and outputs in the order of ``names``, then the named tensors.

    The same model gives the same bytes, whatever the values of the traced frame.

    Args:
        model: in evaluation mode.
        config: its configuration.
        path: file to write.

    Raises:
        ExportError: the model uses something that can't be traced.
    """
    frame = clip_frame(config, 1, seed=_TRACE_SEED)
    generator = torch.Generator().manual_seed(_TRACE_SEED)
    history = torch.randn(config.num_bev_cells, 1, config.embed_dims, generator=generator)
    inputs = (*(torch.from_numpy(array) for array in (frame.img, frame.can_bus, frame.lidar2img)), history)
    tensors = named_tensors(config)
    with warnings.catch_warnings(record=True) as caught, torch.no_grad(), named_tensors_put_out(model, tensors):
        warnings.simplefilter("always")
        try:
            torch.onnx.export(
                model,
                inputs,
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=list(INPUT_NAMES),
                output_names=[*OUTPUT_NAMES, *(tensor.name for tensor in tensors)],
            )
        except RuntimeError as error:
            raise ExportError(f"the model can't be traced to operator set {OPSET}: {error}") from error
    for warning in caught:
        _LOGGER.debug("exporter: %s", warning.message)
