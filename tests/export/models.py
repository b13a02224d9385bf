"""Micro models of both kinds that people deploy, for the tests of the export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import onnx

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.export.trace import trace_model
from bevformer_lib.model.bevformer import BEVFormer, build_model
from bevformer_lib.model.camera_sampling import SpatialForm
from bevformer_lib.model.random_weights import randomize
from bevformer_lib.names import OUTPUT_NAMES
from tests.support.micro import micro_config


def micro_small_config() -> ModelConfig:
    """The micro model with deformable convolutions and one feature level."""
    tiny = micro_config()
    backbone = replace(tiny.backbone, style="caffe", stage_with_dcn=(False, False, True, True))
    return replace(tiny, name="micro_small", backbone=backbone)


def micro_base_config() -> ModelConfig:
    """The micro model with deformable convolutions and four feature levels, as the large models have them."""
    tiny = micro_config()
    return replace(
        tiny,
        name="micro_base",
        backbone=replace(
            tiny.backbone, style="caffe", out_indices=(1, 2, 3), stage_with_dcn=(False, False, True, True)
        ),
        neck=replace(tiny.neck, in_channels=(64, 128, 256), num_outs=4),
        encoder=replace(tiny.encoder, spatial_levels=4),
    )


MICRO_CONFIGS: Mapping[str, Callable[[], ModelConfig]] = {
    "tiny": micro_config,
    "small": micro_small_config,
    "base": micro_base_config,
}


def random_model(config: ModelConfig, *, spatial: SpatialForm = "dense") -> BEVFormer:
    """A model whose every parameter matters."""
    model = build_model(config, spatial=spatial)
    randomize(model, seed=1)
    return model


def write_traced(model: BEVFormer, path: Path) -> None:
    """Write a model's graph as the tracer makes it, with the model's own outputs only."""
    trace_model(model, model.config, path)
    graph = onnx.load(str(path))
    own = [value for value in graph.graph.output if value.name in OUTPUT_NAMES]
    del graph.graph.output[:]
    graph.graph.output.extend(own)
    onnx.save(graph, str(path))
