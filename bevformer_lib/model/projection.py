"""Projection of the BEV pillars into the cameras."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from bevformer_lib.config.camera_capacity import PillarGrid
from bevformer_lib.config.host_geometry import MAX_REACH_IMAGES
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.geometry.pillars import MIN_DEPTH_M, pillar_points_lidar_m

MAX_OUTSIDE_IMAGES: Final = MAX_REACH_IMAGES
"""Reference points further outside the image than this many image sizes are moved to that distance.

Near the plane of the camera the quotient grows to 1e8, which would set the quantisation range of the whole tensor; a
point behind it has no place in the image and is put this far outside. Such points only matter in a cell that sees
the camera through another anchor, and then only if a sampling offset spans more than this many images.
"""


class PillarProjection(nn.Module):
    """Projects ``pillar_points`` heights above every BEV cell into every camera."""

    points: Tensor
    image_size: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_cams = config.num_cams
        self.cells = config.num_bev_cells
        self.anchors = config.encoder.pillar_points
        image_h, image_w = config.image_hw
        self.register_buffer("image_size", torch.tensor([image_w, image_h]).float().view(1, 2, 1), persistent=False)
        self.register_buffer("points", torch.from_numpy(pillar_points_lidar_m(PillarGrid.of(config))), persistent=False)

    def forward(self, lidar2img: Tensor) -> tuple[Tensor, Tensor]:
        """Project with ``lidar2img`` (1, cameras, 4, 4).

        Returns:
            reference points (cameras, anchors, cells, 2) as shares (u, v) of the padded image, and which camera sees
            which cell, (cameras, cells), 1 or 0. A cell is seen when one of its anchors has a depth above
            ``MIN_DEPTH_M`` and 0 < u < 1, 0 < v < 1.
        """
        matrices = lidar2img.reshape(self.num_cams, 4, 4)
        # Two products: in one tensor, depths would share a quantisation range of 1e5 pixels.
        pixels = torch.matmul(matrices[:, 0:2], self.points)
        depth = torch.matmul(matrices[:, 2:3], self.points)
        in_front = depth > MIN_DEPTH_M
        divisor = torch.where(in_front, depth, 1.0)
        # Bounded before the division, by multiples of its divisor: the quotient is the same as if it were bounded
        # afterwards, but no tensor on the way has a range in which one quantisation step is as large as the image.
        lowest = divisor * (self.image_size * -MAX_OUTSIDE_IMAGES)
        highest = divisor * (self.image_size * (1 + MAX_OUTSIDE_IMAGES))
        bounded = torch.minimum(torch.maximum(pixels, lowest), highest)
        reference = torch.where(in_front, bounded / divisor / self.image_size, -MAX_OUTSIDE_IMAGES)
        # How far u or v, whichever is worse, lies outside; a minimum of how far inside would be ReduceMin, and a minus
        # sign Neg, which not every NPU has.
        outside = torch.maximum(reference * -1, reference - 1).amax(dim=1)
        point_seen = torch.where(outside < 0, 1.0, 0.0)
        seen = point_seen.reshape(self.num_cams, self.cells, self.anchors).amax(dim=2)
        return reference.reshape(self.num_cams, 2, self.cells, self.anchors).permute(0, 3, 2, 1), seen
