"""The PyTorch model as a runtime; nothing of PyTorch is imported before one is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.names import CAN_BUS_SIZE, INPUT_CAN_BUS, INPUT_IMG, INPUT_LIDAR2IMG, INPUT_PREV_BEV, OUTPUT_NAMES
from bevformer_lib.runtime.base import TensorSpec


class PyTorchRuntime:
    """A checkpoint on the CPU, with the named tensors of its inside."""

    def __init__(self, config: ModelConfig, checkpoint: Path) -> None:
        """Load a checkpoint.

        Raises:
            CheckpointError: the checkpoint can't be read, or is not of this configuration.
        """
        from bevformer_lib.export.intermediate_outputs import named_tensors
        from bevformer_lib.model.bevformer import build_model
        from bevformer_lib.model.checkpoint import load_checkpoint

        self._model = build_model(config)
        load_checkpoint(checkpoint, self._model)
        self._tensors = named_tensors(config)
        cells, layers = config.bev_h * config.bev_w, config.decoder.num_layers
        bev = (cells, 1, config.embed_dims)
        shapes = {
            INPUT_IMG: (1, config.num_cams, 3, *config.image_hw),
            INPUT_CAN_BUS: (1, CAN_BUS_SIZE),
            INPUT_LIDAR2IMG: (1, config.num_cams, 4, 4),
            INPUT_PREV_BEV: bev,
        }
        outputs = (
            bev,
            (layers, 1, config.num_query, config.num_classes),
            (layers, 1, config.num_query, config.code_size),
        )
        self.inputs: Mapping[str, TensorSpec] = _float_specs(shapes)
        self.outputs: Mapping[str, TensorSpec] = _float_specs(dict(zip(OUTPUT_NAMES, outputs, strict=True)))

    @property
    def metadata(self) -> Mapping[str, str]:
        """Empty: nothing was exported."""
        return {}

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Execute the model once and return its outputs and its named tensors."""
        import torch

        from bevformer_lib.export.intermediate_outputs import named_tensors_put_out

        with torch.inference_mode(), named_tensors_put_out(self._model, self._tensors):
            results = self._model(*(torch.from_numpy(np.ascontiguousarray(feed[name])) for name in self.inputs))
        names = (*OUTPUT_NAMES, *(tensor.name for tensor in self._tensors))
        return {name: result.numpy() for name, result in zip(names, results, strict=True)}


def _float_specs(shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, TensorSpec]:
    return MappingProxyType({name: TensorSpec(name, shape, np.dtype(np.float32)) for name, shape in shapes.items()})
