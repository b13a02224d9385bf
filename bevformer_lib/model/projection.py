"""Projection of the BEV pillars into the cameras."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.geometry.pillars import MIN_DEPTH_M, PillarGrid, pillar_points_lidar_m

MAX_OUTSIDE_IMAGES: Final = 4.0
"""Reference points further outside the picture than this many picture sizes are moved to that distance.

Behind the camera the quotient grows to 1e8, which would set the quantisation range of the whole tensor. Such a
point only matters in a cell that sees the camera through another anchor, and then only if a sampling offset spans
more than this many pictures.
"""


class PillarProjection(nn.Module):
    """Projects ``pillar_points`` heights above every BEV cell into every camera."""

    points: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_cams = config.num_cams
        self.cells = config.num_bev_cells
        self.anchors = config.encoder.pillar_points
        self.image_h, self.image_w = config.image_hw
        self.register_buffer("points", torch.from_numpy(pillar_points_lidar_m(PillarGrid.of(config))), persistent=False)

    def forward(self, lidar2img: Tensor) -> tuple[Tensor, Tensor]:
        """Project with ``lidar2img`` (1, cameras, 4, 4).

        Returns:
            reference points (cameras, anchors, cells, 2) as shares (u, v) of the padded picture, and which camera sees
            which cell, (cameras, cells), 1 or 0. A cell is seen when one of its anchors has a depth above
            ``MIN_DEPTH_M`` and 0 < u < 1, 0 < v < 1.
        """
        projected = torch.matmul(lidar2img.reshape(self.num_cams, 4, 4), self.points)
        depth = projected[:, 2:3]
        uv = projected[:, 0:2] / torch.clamp(depth, min=MIN_DEPTH_M)
        u, v = uv[:, 0:1] / self.image_w, uv[:, 1:2] / self.image_h
        inside = torch.cat([depth - MIN_DEPTH_M, u, 1 - u, v, 1 - v], dim=1).amin(dim=1)
        seen = torch.where(inside.reshape(self.num_cams, self.cells, self.anchors).amax(dim=2) > 0, 1.0, 0.0)
        reference = torch.cat([u, v], dim=1).clamp(-MAX_OUTSIDE_IMAGES, 1 + MAX_OUTSIDE_IMAGES)
        return reference.reshape(self.num_cams, 2, self.cells, self.anchors).permute(0, 3, 2, 1), seen
