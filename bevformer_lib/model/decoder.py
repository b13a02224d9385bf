"""The detection decoder: object queries look at each other and into the BEV, and refine their boxes layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.model.layers import FeedForward, SelfAttention
from bevformer_lib.model.sampling import project_map, sample_and_weigh

MAX_REFERENCE_LOGIT: Final = 11.512925
"""Bound of reference points in logit space: log(1 / eps) of the original's inverse sigmoid with eps = 1e-5.

The original squashes reference points and takes the inverse sigmoid, log(max(x, eps) / max(1 - x, eps)), again in the
next layer. Keeping the logit and bounding it is the same map (within eps) without the logarithm, which the NPU lacks.
"""


CENTER_CODE: Final = (0, 1, 4)
"""Entries of a box's code that hold its centre: x, y, z."""
SIZE_CODE: Final = (2, 3, 5)
"""Logarithms of width, length, height."""
YAW_CODE: Final = (6, 7)
"""Sine, cosine."""


@dataclass(frozen=True)
class BoxCode:
    """What a decoder layer says of every query's box; each part is a tensor of its own, (1, queries, n).

    Attributes:
        reference: logits (x, y, z) of the reference point that the layer began with, bounded.
        offset: what the layer adds to it; the sum is the logit of the centre.
        size: logarithms of width, length, height in metres.
        yaw: sine, cosine.
        velocity: the rest of the code: m/s along x and y.
    """

    reference: Tensor
    offset: Tensor
    size: Tensor
    yaw: Tensor
    velocity: Tensor


class BevDeformableAttention(nn.Module):
    """Deformable attention of the object queries into the BEV map, with a shortcut."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.points = config.decoder.num_heads, config.decoder.num_points
        samples = self.heads * self.points
        self.sampling_offsets = nn.Linear(config.embed_dims, samples * 2)
        self.attention_weights = nn.Linear(config.embed_dims, samples)
        self.value_proj = nn.Linear(config.embed_dims, config.embed_dims)
        self.output_proj = nn.Linear(config.embed_dims, config.embed_dims)
        cells_to_grid = torch.tensor([2 / config.bev_w, 2 / config.bev_h])
        self.register_buffer("cells_to_grid", cells_to_grid, persistent=False)

    cells_to_grid: Tensor

    def forward(self, query: Tensor, query_pos: Tensor, bev_map: Tensor, reference: Tensor) -> Tensor:
        """Attend into the BEV.

        Args:
            query: (1, queries, C).
            query_pos: (1, queries, C).
            bev_map: (1, C, bev_h, bev_w).
            reference: (1, queries, 2) positions as shares (x, y) of the map.

        Returns:
            (1, queries, C).
        """
        positioned = query + query_pos
        queries = query.shape[1]
        offsets = self.sampling_offsets(positioned).reshape(1, queries, self.heads, self.points, 2)
        weights = self.attention_weights(positioned).reshape(1, queries, self.heads, self.points)
        grid = (reference * 2 - 1).reshape(1, 1, 1, queries, 2) + offsets.permute(0, 2, 3, 1, 4) * self.cells_to_grid
        value_map = project_map(bev_map, self.value_proj.weight, self.value_proj.bias)
        attended = sample_and_weigh(value_map, grid, weights.softmax(dim=-1).permute(0, 2, 3, 1))
        out: Tensor = self.output_proj(attended.transpose(1, 2)) + query
        return out


class DecoderLayer(nn.Module):
    """Self-attention, attention into the BEV and feed-forward, each followed by a normalisation."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        decoder = config.decoder
        self.attentions = nn.ModuleList(
            [SelfAttention(config.embed_dims, decoder.num_heads), BevDeformableAttention(config)]
        )
        self.ffns = nn.ModuleList([FeedForward(config.embed_dims, decoder.feedforward_channels)])
        self.norms = nn.ModuleList(nn.LayerNorm(config.embed_dims) for _ in range(3))

    def forward(self, query: Tensor, query_pos: Tensor, bev_map: Tensor, reference: Tensor) -> Tensor:
        """Map the object queries (1, queries, C) to (1, queries, C)."""
        query = self.norms[0](self.attentions[0](query, query_pos))
        query = self.norms[1](self.attentions[1](query, query_pos, bev_map, reference))
        out: Tensor = self.norms[2](self.ffns[0](query))
        return out


class DetectionDecoder(nn.Module):
    """Stack of decoder layers with iterative refinement of the reference points."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder.num_layers))
        self.refine = config.with_box_refine

    def forward(
        self,
        query: Tensor,
        query_pos: Tensor,
        bev_map: Tensor,
        reference_logit: Tensor,
        reg_branches: nn.ModuleList,
    ) -> tuple[list[Tensor], list[BoxCode]]:
        """Decode the objects.

        Args:
            query: (1, queries, C) content.
            query_pos: (1, queries, C) position.
            bev_map: (1, C, bev_h, bev_w).
            reference_logit: (1, queries, 3) initial reference points (x, y, z) before the sigmoid.
            reg_branches: per layer, from (1, queries, C) to (1, queries, code size).

        Returns:
            per layer the queries (1, queries, C), and per layer the boxes.
        """
        states, boxes = [], []
        for layer, reg_branch in zip(self.layers, reg_branches, strict=True):
            reference = reference_logit[..., 0:2].sigmoid()
            query = layer(query, query_pos, bev_map, reference)
            box = _box_code(reg_branch, query, reference_logit.clamp(-MAX_REFERENCE_LOGIT, MAX_REFERENCE_LOGIT))
            states.append(query)
            boxes.append(box)
            if self.refine:
                reference_logit = box.reference + box.offset
        return states, boxes


def _box_code(branch: nn.Module, query: Tensor, reference: Tensor) -> BoxCode:
    """Apply a regression branch, its last layer once per part of the code.

    Metres, logarithms and sines in one tensor would share one quantisation range; the products are the same.
    """
    *hidden_layers, last = branch.children()
    for layer in hidden_layers:
        query = layer(query)
    weight, bias = last.get_parameter("weight"), last.get_parameter("bias")
    rest = range(max(*CENTER_CODE, *SIZE_CODE, *YAW_CODE) + 1, len(weight))
    offset, size, yaw, velocity = (
        F.linear(query, torch.stack([weight[row] for row in rows]), torch.stack([bias[row] for row in rows]))
        for rows in (CENTER_CODE, SIZE_CODE, YAW_CODE, rest)
    )
    return BoxCode(reference, offset, size, yaw, velocity)
