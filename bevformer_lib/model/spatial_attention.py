"""Spatial cross-attention: every BEV cell looks into the cameras that see its pillar."""

from __future__ import annotations

from torch import Tensor, nn

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.model.camera_sampling import CameraSampling
from bevformer_lib.model.sampling import project_map


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
    """Deformable attention into the cameras that see a cell, averaged over them, with a shortcut.

    Sampling point p belongs to pillar anchor p % anchors. Offsets and weights depend on the query alone, so they are
    computed once and not per camera.
    """

    def __init__(self, config: ModelConfig, sampling: CameraSampling) -> None:
        super().__init__()
        encoder = config.encoder
        self.heads, self.levels = encoder.num_heads, encoder.spatial_levels
        self.points, self.anchors = encoder.spatial_points, encoder.pillar_points
        self.sampling = sampling
        self.deformable_attention = DeformableAttention3D(config)
        self.output_proj = nn.Linear(config.embed_dims, config.embed_dims)

    def forward(self, query: Tensor, features: list[Tensor], located: object) -> Tensor:
        """Attend into the cameras.

        Args:
            query: (1, cells, C).
            features: per level (cameras, C, H_l, W_l).
            located: where the cells lie in the cameras, as the sampling's ``locate`` says it.

        Returns:
            (1, cells, C).
        """
        attention = self.deformable_attention
        cells, rounds = query.shape[1], self.points // self.anchors
        offsets = attention.sampling_offsets(query).reshape(cells, self.heads, self.levels, self.points * 2)
        offsets = offsets.permute(2, 1, 0, 3).reshape(self.levels, self.heads, cells, rounds, self.anchors * 2)
        weights = attention.attention_weights(query).reshape(cells, self.heads, self.levels * self.points)
        weights = weights.softmax(dim=-1).transpose(0, 1)
        values = [project_map(feature, attention.value_proj.weight, attention.value_proj.bias) for feature in features]
        attended = self.sampling.sample(values, offsets, list(weights.split(self.points, dim=-1)), located)
        out: Tensor = self.output_proj(attended.transpose(1, 2)) + query
        return out
