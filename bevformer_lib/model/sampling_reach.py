"""How far the spatial attention's sampling offsets reach, from a model's weights."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import nn

from bevformer_lib.config.host_geometry import MAX_REACH_IMAGES
from bevformer_lib.model.bevformer import BEVFormer

_DEVIATIONS: Final = 5.0
"""An offset is a constant and a weighted sum of normalised values: how many of its standard deviations count."""
_STEP_IMAGES: Final = 0.25
_FIRST_STAGE_STRIDE: Final = 4


def sampling_reach_images(model: BEVFormer) -> float:
    """Return over how many images an offset spans at most, rounded up to quarters; at most ``MAX_REACH_IMAGES``.

    The queries come from a normalisation, so an offset is b + w (gamma z + beta) with z of mean 0 and variance 1. The
    parity check at export compares with the model itself, whose reference points lie up to ``MAX_REACH_IMAGES``
    outside.
    """
    config = model.config
    sizes = torch.tensor(level_sizes(model), dtype=torch.float64)
    reach = 0.0
    for layer in model.pts_bbox_head.transformer.encoder.layers:
        norm = layer.get_submodule("norms.0")
        linear = layer.get_submodule("attentions.1.deformable_attention.sampling_offsets")
        reach = max(reach, _reach_images(norm, linear, sizes, heads=config.encoder.num_heads))
    return min(MAX_REACH_IMAGES, math.ceil(reach / _STEP_IMAGES) * _STEP_IMAGES)


def level_sizes(model: BEVFormer) -> list[tuple[int, int]]:
    """Return the feature maps' height and width, finest first, as far as the spatial attention samples them."""
    config = model.config
    finest = _FIRST_STAGE_STRIDE * 2 ** min(config.backbone.out_indices)
    height, width = (math.ceil(size / finest) for size in config.image_hw)
    sizes = [(height, width)]
    while len(sizes) < config.encoder.spatial_levels:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
        sizes.append((height, width))
    return sizes


def _reach_images(norm: nn.Module, linear: nn.Module, sizes: torch.Tensor, *, heads: int) -> float:
    with torch.no_grad():
        weight, bias = (linear.get_parameter(name).double() for name in ("weight", "bias"))
        gamma, beta = (norm.get_parameter(name).double() for name in ("weight", "bias"))
        constant = (bias + weight @ beta).abs()
        deviation = (weight * gamma).norm(dim=1)
        pixels = (constant + _DEVIATIONS * deviation).reshape(heads, len(sizes), -1, 2)
        # x and y over the map's width and height.
        images = pixels / sizes.flip(1).reshape(1, len(sizes), 1, 2)
        return float(images.max())
