"""Random weights in which every parameter matters and no activation explodes."""

from __future__ import annotations

import math
import statistics
from typing import Final

import torch
from torch import Tensor, nn

from bevformer_lib.model.bevformer import BEVFormer
from bevformer_lib.model.deform_conv import ModulatedDeformConv2d

RESIDUAL_GAIN: Final = 0.3
"""Weight of a bottleneck's own branch, so that up to 33 of them in a row keep activations of order one."""

SAMPLING_OFFSET_CELLS: Final = 2.0
"""Spread of deformable sampling offsets, in cells or feature pixels, comparable with trained models."""

PIXEL_SPREAD: Final = 57.63
"""Standard deviation of pixel values in ImageNet, mean of the three colours."""

CLASS_LOGIT_MEAN: Final = -4.0
"""Most queries of a trained model are background; with this a few of 900 random ones score above 0.3."""

CLASS_LOGIT_SPREAD: Final = 1.2

REFINEMENT: Final = 0.1
"""Spread of what a decoder layer moves a reference point by, in logits. Trained layers refine; layers that throw their
points about read another place of the map each time, and six of them blow up rounding a hundredfold."""

_CENTER_CODES: Final = (0, 1, 4)
"""Of the box code: x, y, z, which move the reference point."""


def randomize(model: BEVFormer, *, seed: int) -> None:
    """Fill every parameter and statistic of ``model`` from ``seed``; the same seed gives the same bytes.

    The first convolution makes up for images whose normalisation only subtracts a mean: with activations of order 60,
    the offsets of deformable convolutions would span the image, and a row of them would blow the last bit of float32
    up to errors of 10 %, which no trained model does.
    """
    generator = torch.Generator().manual_seed(seed)
    head = model.pts_bbox_head
    class_layers, box_layers = _last_layers(head.cls_branches), _last_layers(head.reg_branches)
    with torch.no_grad():
        for name, module in model.named_modules():
            for parameter_name, tensor in module.named_parameters(recurse=False):
                full_name = f"{name}.{parameter_name}"
                if module in class_layers:
                    _fill_class_logits(parameter_name, tensor, generator)
                elif full_name != "pts_bbox_head.code_weights":
                    _fill(module, full_name, tensor, generator)
                if module in box_layers:
                    tensor[list(_CENTER_CODES)] *= REFINEMENT
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None  # noqa: S101
                module.running_mean.normal_(0.0, 0.1, generator=generator)
                module.running_var.uniform_(0.8, 1.2, generator=generator)
        model.img_backbone.conv1.weight.mul_(statistics.mean(model.config.img_norm.std) / PIXEL_SPREAD)


def _fill(module: nn.Module, name: str, tensor: Tensor, generator: torch.Generator) -> None:
    if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
        scale = RESIDUAL_GAIN if name.endswith("bn3.weight") else 1.0
        if name.endswith("weight"):
            tensor.uniform_(0.8 * scale, 1.2 * scale, generator=generator)
        else:
            tensor.normal_(0.0, 0.1, generator=generator)
    elif "sampling_offsets" in name or "conv_offset" in name:
        _fill_offsets(name, tensor, generator)
    elif name.endswith("bias"):
        tensor.normal_(0.0, 0.1, generator=generator)
    elif isinstance(module, nn.Conv2d | ModulatedDeformConv2d):
        tensor.normal_(0.0, math.sqrt(2 / tensor[0].numel()), generator=generator)
    elif isinstance(module, nn.Embedding):
        tensor.normal_(0.0, 1.0, generator=generator)
    else:
        tensor.normal_(0.0, 1 / math.sqrt(tensor.shape[-1]), generator=generator)


def _fill_offsets(name: str, tensor: Tensor, generator: torch.Generator) -> None:
    if name.endswith("bias"):
        tensor.normal_(0.0, SAMPLING_OFFSET_CELLS, generator=generator)
    else:
        tensor.normal_(0.0, 0.5 / math.sqrt(tensor[0].numel()), generator=generator)


def _fill_class_logits(name: str, tensor: Tensor, generator: torch.Generator) -> None:
    if name == "bias":
        tensor.normal_(CLASS_LOGIT_MEAN, 0.5, generator=generator)
    else:
        tensor.normal_(0.0, CLASS_LOGIT_SPREAD / math.sqrt(tensor.shape[-1]), generator=generator)


def _last_layers(branches: nn.ModuleList) -> frozenset[nn.Module]:
    """Return the layers that put out what the branches put out."""
    return frozenset(list(branch.children())[-1] for branch in branches)
