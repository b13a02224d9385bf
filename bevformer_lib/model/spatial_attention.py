"""Spatial cross-attention: every BEV cell looks into the cameras that see its pillar."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.model.sampling import project_map, sample_and_weigh


class DeformableAttention3D(nn.Module):
    """Parameters of the deformable attention around the projected pillar anchors (no output projection of its own)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        encoder = config.encoder
        samples = encoder.num_heads * encoder.spatial_levels * encoder.spatial_points
        self.sampling_offsets = nn.Linear(config.embed_dims, samples * 2)
        self.attention_weights = nn.Linear(config.embed_dims, samples)
        self.value_proj = nn.Linear(config.embed_dims, config.embed_dims)


class SpatialCrossAttention(nn.Module):
    """Deformable attention into all cameras, weighed by which cameras see the cell, with a shortcut.

    Sampling point p belongs to pillar anchor p % anchors. Offsets and weights depend on the query alone, so they
    are computed once and not per camera.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        encoder = config.encoder
        self.heads, self.levels = encoder.num_heads, encoder.spatial_levels
        self.points, self.anchors = encoder.spatial_points, encoder.pillar_points
        self.deformable_attention = DeformableAttention3D(config)
        self.output_proj = nn.Linear(config.embed_dims, config.embed_dims)

    def forward(self, query: Tensor, features: list[Tensor], reference: Tensor, seen_share: Tensor) -> Tensor:
        """Attend into the cameras.

        Args:
            query: (1, cells, C).
            features: per level (cameras, C, H_l, W_l).
            reference: (cameras, cells, anchors, 2), shares of the padded picture.
            seen_share: (cameras, 1, cells).

        Returns:
            (1, cells, C).
        """
        attention = self.deformable_attention
        cells = query.shape[1]
        rounds = self.points // self.anchors
        offsets = attention.sampling_offsets(query).reshape(cells, self.heads, self.levels, self.points * 2)
        offsets = offsets.permute(2, 1, 0, 3).reshape(self.levels, self.heads, cells, rounds, self.anchors * 2)
        weights = attention.attention_weights(query).reshape(cells, self.heads, self.levels * self.points)
        weights = weights.softmax(dim=-1).transpose(0, 1).split(self.points, dim=-1)
        # x and y of all anchors stay interleaved in one axis, which keeps every tensor at rank five.
        anchor_grid = (reference * 2 - 1).reshape(-1, 1, cells, 1, self.anchors * 2)

        attended = torch.zeros(())
        for level, feature in enumerate(features):
            height, width = feature.shape[-2:]
            pixels_to_grid = torch.tensor([2 / width, 2 / height]).to(query).repeat(self.anchors)
            grid = anchor_grid + (offsets[level] * pixels_to_grid).unsqueeze(0)
            grid = grid.reshape(-1, self.heads, cells, self.points, 2)
            value_map = project_map(feature, attention.value_proj.weight, attention.value_proj.bias)
            attended = attended + sample_and_weigh(value_map, grid, weights[level].unsqueeze(0))
        fused = (attended * seen_share).sum(dim=0, keepdim=True).transpose(1, 2)
        out: Tensor = self.output_proj(fused) + query
        return out
