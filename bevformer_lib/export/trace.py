"""PyTorch to the raw ONNX graph."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Final

import torch
from torch import nn

from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.errors import ExportError
from bevformer_lib.export.clip import clip_frame
from bevformer_lib.export.graph import OPSET
from bevformer_lib.export.intermediate_outputs import named_tensors, named_tensors_put_out
from bevformer_lib.geometry.host import HostGeometry
from bevformer_lib.model.bevformer import BEVFormer
from bevformer_lib.model.host_geometry import HostGeometryBEVFormer
from bevformer_lib.names import (
    HOST_GEOMETRY_OUTPUTS,
    INPUT_CAN_BUS,
    INPUT_IMG,
    INPUT_LIDAR2IMG,
    INPUT_PREV_BEV,
    OUTPUT_NAMES,
)

EXPORTER: Final = "torch.onnx.export(dynamo=False)"
"""TorchScript tracing; docs/exporter-choice.md holds the figures behind the choice."""

_TRACE_SEED: Final = 10
"""Not the parity check's: a value of the traced frame that stayed in the graph must not meet its frame again there."""

_LOGGER = logging.getLogger(__name__)


def trace_model(
    model: BEVFormer, config: ModelConfig, path: Path, *, host_geometry: HostGeometryConfig | None = None
) -> None:
    """Write a model's raw graph: fixed shapes, inputs and outputs in the order of ``names``, then the named tensors.

    The same model gives the same bytes, whatever the values of the traced frame.

    Args:
        model: in evaluation mode.
        config: its configuration.
        path: file to write.
        host_geometry: for a graph whose geometry the host computes; ``None``: the graph computes it.

    Raises:
        ExportError: the model uses something that can't be traced.
    """
    frame = clip_frame(config, 1, seed=_TRACE_SEED)
    generator = torch.Generator().manual_seed(_TRACE_SEED)
    history = torch.randn(config.num_bev_cells, 1, config.embed_dims, generator=generator)
    given = {
        INPUT_IMG: frame.img,
        INPUT_CAN_BUS: frame.can_bus,
        INPUT_LIDAR2IMG: frame.lidar2img,
        INPUT_PREV_BEV: history.numpy(),
    }
    network: nn.Module = model
    output_names: tuple[str, ...] = OUTPUT_NAMES
    if host_geometry is not None:
        network = HostGeometryBEVFormer(model, host_geometry).eval()
        given, output_names = HostGeometry(host_geometry).inputs(given), HOST_GEOMETRY_OUTPUTS
    inputs = tuple(torch.from_numpy(array) for array in given.values())
    tensors = named_tensors(config)
    with warnings.catch_warnings(record=True) as caught, torch.no_grad(), named_tensors_put_out(network, tensors):
        warnings.simplefilter("always")
        try:
            torch.onnx.export(
                network,
                inputs,
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=list(given),
                output_names=[*output_names, *(tensor.name for tensor in tensors)],
            )
        except RuntimeError as error:
            raise ExportError(f"the model can't be traced to operator set {OPSET}: {error}") from error
    for warning in caught:
        _LOGGER.debug("exporter: %s", warning.message)
