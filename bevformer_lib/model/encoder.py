"""The BEV encoder (Li et al., "BEVFormer", arXiv:2203.17270, sections 3.3 and 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.model.camera_sampling import CameraSampling, CameraViews
from bevformer_lib.model.layers import FeedForward
from bevformer_lib.model.projection import PillarProjection
from bevformer_lib.model.spatial_attention import SpatialCrossAttention
from bevformer_lib.model.temporal_attention import History, TemporalSelfAttention


class EncoderLayer(nn.Module):
    """Temporal self-attention, spatial cross-attention and feed-forward, each followed by a normalisation."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([TemporalSelfAttention(config), SpatialCrossAttention(config)])
        self.ffns = nn.ModuleList([FeedForward(config.embed_dims, config.encoder.feedforward_channels)])
        self.norms = nn.ModuleList(nn.LayerNorm(config.embed_dims) for _ in range(3))

    def forward(self, query: Tensor, bev_pos: Tensor, history: History, views: CameraViews) -> Tensor:
        """Map the BEV queries (1, cells, C) to (1, cells, C)."""
        query = self.norms[0](self.attentions[0](query, bev_pos, history))
        query = self.norms[1](self.attentions[1](query, views))
        out: Tensor = self.norms[2](self.ffns[0](query))
        return out


class BevEncoder(nn.Module):
    """Stack of encoder layers over one projection of the pillars."""

    def __init__(self, config: ModelConfig, sampling: CameraSampling) -> None:
        super().__init__()
        self.sampling = sampling
        self.spatial_points = config.encoder.spatial_points
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder.num_layers))
        self.projection = PillarProjection(config)

    def views(self, features: list[Tensor], lidar2img: Tensor) -> CameraViews:
        """Place the cells in the cameras' features.

        Args:
            features: per level (cameras, C, H_l, W_l).
            lidar2img: (1, cameras, 4, 4).
        """
        return self.sampling.prepare(features, *self.projection(lidar2img), points=self.spatial_points)

    def forward(self, query: Tensor, bev_pos: Tensor, history: History, views: CameraViews) -> Tensor:
        """Encode the BEV.

        Args:
            query: (1, cells, C) initial BEV queries.
            bev_pos: (1, cells, C) positional encoding.
            history: the previous frame's BEV.
            views: the image features and where the cells lie in them.

        Returns:
            (1, cells, C).
        """
        for layer in self.layers:
            query = layer(query, bev_pos, history, views)
        return query


def bev_reference_points(config: ModelConfig) -> Tensor:
    """Return the cell centres (cells, 2) as shares (x, y) of the BEV map, row by row."""
    x = (torch.arange(config.bev_w, dtype=torch.float32) + 0.5) / config.bev_w
    y = (torch.arange(config.bev_h, dtype=torch.float32) + 0.5) / config.bev_h
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(-1, 2)
