"""Spatial cross-attention: every BEV cell looks into the cameras that see its pillar."""

from __future__ import annotations

from torch import Tensor, nn

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.model.camera_sampling import CameraViews
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

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        encoder = config.encoder
        self.heads, self.levels, self.points = encoder.num_heads, encoder.spatial_levels, encoder.spatial_points
        self.deformable_attention = DeformableAttention3D(config)
        self.output_proj = nn.Linear(config.embed_dims, config.embed_dims)

    def forward(self, query: Tensor, views: CameraViews) -> Tensor:
        """Attend into the cameras.

        Args:
            query: (1, cells, C).
            views: the image features and where the cells lie in them.

        Returns:
            (1, cells, C).
        """
        attention = self.deformable_attention
        cells = query.shape[1]
        offsets = attention.sampling_offsets(query).reshape(cells, self.heads, self.levels, self.points, 2)
        weights = attention.attention_weights(query).reshape(cells, self.heads, self.levels * self.points)
        weights = weights.softmax(dim=-1).reshape(cells, self.heads, self.levels, self.points)
        values = [
            project_map(feature, attention.value_proj.weight, attention.value_proj.bias) for feature in views.maps
        ]
        attended = views.attend(values, offsets.permute(2, 1, 3, 0, 4), weights.permute(2, 1, 3, 0))
        out: Tensor = self.output_proj(attended.transpose(1, 2)) + query
        return out
