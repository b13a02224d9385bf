"""Weights to begin with: residual branches small, sampling points around their cell, references at real boxes."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from bevformer_lib.model.decoder import BevDeformableAttention
from bevformer_lib.model.deform_conv import ModulatedDeformConv2d
from bevformer_lib.model.resnet import Bottleneck
from bevformer_lib.model.spatial_attention import DeformableAttention3D
from bevformer_lib.model.temporal_attention import TemporalSelfAttention
from bevformer_lib.training.training_model import TrainingModel

CLASS_PRIOR: Final = 0.01
"""Score of every query and class before training."""

_EDGE: Final = 0.02
_FIRST_REFINEMENT: Final = 0.1


def initialize(model: TrainingModel, centers_m: Tensor) -> None:
    """Set all weights, from torch's own generator.

    Args:
        model: to be trained.
        centers_m: (n, 3) centres of real boxes, among which the queries' first reference points are drawn.
    """
    detector, head = model.detector, model.detector.pts_bbox_head
    for module in detector.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for module in detector.modules():
        if isinstance(module, Bottleneck):
            nn.init.constant_(module.bn3.weight, 0.2)
        elif isinstance(module, ModulatedDeformConv2d):
            nn.init.zeros_(module.conv_offset.weight)
        elif isinstance(module, TemporalSelfAttention | BevDeformableAttention):
            _around_the_cell(module, module.heads, module.points)
        elif isinstance(module, DeformableAttention3D):
            encoder = model.config.encoder
            _around_the_cell(module, encoder.num_heads, encoder.spatial_points, anchors=encoder.pillar_points)
    for layer in _last_layers(head.cls_branches):
        nn.init.constant_(layer.bias, -math.log(1 / CLASS_PRIOR - 1))
    with torch.no_grad():
        for layer in _last_layers(head.reg_branches):
            layer.weight.mul_(_FIRST_REFINEMENT)
    nn.init.normal_(head.transformer.level_embeds, std=0.1)
    nn.init.normal_(head.transformer.cams_embeds, std=0.1)
    with torch.no_grad():
        for queries in (head.query_embedding.weight, *model.other_queries):
            _refer_to(centers_m, queries, head.transformer.reference_points, model.config.pc_range)


def _around_the_cell(
    module: TemporalSelfAttention | BevDeformableAttention | DeformableAttention3D,
    heads: int,
    points: int,
    *,
    anchors: int = 1,
) -> None:
    """Let every head look in a direction of its own, each further point one cell farther, as Deformable DETR does."""
    offsets, weights = module.sampling_offsets, module.attention_weights
    angle = torch.arange(heads) * (2 * math.pi / heads)
    direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
    direction = direction / direction.abs().amax(dim=-1, keepdim=True)
    # Points of one head that belong to different anchors of a pillar lie apart already.
    reach = (torch.arange(points) // anchors + 1).float()
    maps = offsets.out_features // (heads * points * 2)
    bias = direction.view(heads, 1, 1, 2) * reach.view(1, 1, points, 1)
    with torch.no_grad():
        offsets.weight.zero_()
        offsets.bias.copy_(bias.expand(heads, maps, points, 2).flatten())
        weights.weight.zero_()
        weights.bias.zero_()


def _refer_to(centers_m: Tensor, queries: Tensor, reference_points: nn.Linear, pc_range: tuple[float, ...]) -> None:
    """Move the positions of queries (queries, 2 C) as little as needed for their references to be real centres."""
    lower, upper = torch.tensor(pc_range).view(2, 3)
    chosen = centers_m[torch.randint(len(centers_m), (len(queries),))]
    wanted = ((chosen - lower) / (upper - lower)).clamp(_EDGE, 1 - _EDGE).logit()
    position = queries[:, : queries.shape[1] // 2]
    position += (wanted - reference_points(position)) @ torch.linalg.pinv(reference_points.weight).T


def _last_layers(branches: nn.ModuleList) -> list[nn.Linear]:
    """Return the layers that put out what the branches put out, each once, also where decoder layers share a branch."""
    last = (list(branch.children())[-1] for branch in dict.fromkeys(branches))
    return [layer for layer in last if isinstance(layer, nn.Linear)]
