"""Ego motion inside the graph: how the history follows the car, computed from every frame's ``can_bus``."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.names import CAN_BUS_YAW_DEG, CAN_BUS_YAW_RAD


def has_history(prev_bev: Tensor) -> Tensor:
    """Return a boolean (1, 1, 1): whether ``prev_bev`` (cells, 1, C) holds anything but zeros.

    The original is given ``None`` on a scene's first frame; the static graph is given zeros.
    """
    return prev_bev.abs().amax(dim=(0, 1, 2), keepdim=True) > 0


class BevShift(nn.Module):
    """The ego's translation in shares of the BEV map, along (x, y).

    The original computes L cos(a - t) with L, t the polar form of (dx, dy) and a the ego yaw; expanded, this is
    dx cos a + dy sin a, which needs no arctangent.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        x_min, y_min, _, x_max, y_max, _ = config.pc_range
        self.enabled = config.use_shift
        self.extent_x_m = x_max - x_min
        self.extent_y_m = y_max - y_min

    def forward(self, can_bus: Tensor) -> Tensor:
        """Map the delta form (1, 18) to the shift (1, 2) as (x, y)."""
        if not self.enabled:
            return torch.zeros(1, 2, dtype=can_bus.dtype, device=can_bus.device)
        dx_m, dy_m = can_bus[:, 0:1], can_bus[:, 1:2]
        yaw_rad = can_bus[:, CAN_BUS_YAW_RAD : CAN_BUS_YAW_RAD + 1]
        cos, sin = _cos(yaw_rad), torch.sin(yaw_rad)
        shift_x = (dx_m * sin - dy_m * cos) * (1 / self.extent_x_m)
        shift_y = (dx_m * cos + dy_m * sin) * (1 / self.extent_y_m)
        return torch.cat([shift_x, shift_y], dim=1)


class BevRotation(nn.Module):
    """Rotates the history by the ego's change of yaw about ``rotate_center``; nearest neighbour, zeros outside.

    The same map as torchvision's ``rotate(..., center=rotate_center)``: for an output cell at (x, y) from the map's
    centre, the source is R(angle) ((x, y) - c) + c, with c the rotation centre from the map's centre.
    """

    offset_x: Tensor
    offset_y: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.enabled = config.rotate_prev_bev
        self.bev_h, self.bev_w = config.bev_h, config.bev_w
        center_x, center_y = config.rotate_center
        self.center_x = center_x - config.bev_w / 2
        self.center_y = center_y - config.bev_h / 2
        columns = torch.arange(config.bev_w, dtype=torch.float32) + (0.5 - config.bev_w / 2)
        rows = torch.arange(config.bev_h, dtype=torch.float32) + (0.5 - config.bev_h / 2)
        offset_x = (columns - self.center_x).view(1, -1).expand(config.bev_h, config.bev_w)
        offset_y = (rows - self.center_y).view(-1, 1).expand(config.bev_h, config.bev_w)
        self.register_buffer("offset_x", offset_x.contiguous(), persistent=False)
        self.register_buffer("offset_y", offset_y.contiguous(), persistent=False)

    def grid(self, can_bus: Tensor) -> Tensor | None:
        """Return where the cells' sources lie, (1, bev_h, bev_w, 2) in GridSample's units; ``None``: it never rotates.

        Args:
            can_bus: (1, 18), delta form.
        """
        if not self.enabled:
            return None
        angle_rad = can_bus[:, CAN_BUS_YAW_DEG : CAN_BUS_YAW_DEG + 1] * (math.pi / 180)
        cos, sin = _cos(angle_rad), torch.sin(angle_rad)
        source_x = self.offset_x * cos - self.offset_y * sin + self.center_x
        source_y = self.offset_x * sin + self.offset_y * cos + self.center_y
        return torch.stack([source_x * (2 / self.bev_w), source_y * (2 / self.bev_h)], dim=-1).unsqueeze(0)

    def forward(self, prev_bev: Tensor, grid: Tensor | None) -> Tensor:
        """Rotate ``prev_bev`` (cells, 1, C) as :meth:`grid` says and return it as (1, cells, C)."""
        tokens = prev_bev.transpose(0, 1)
        if grid is None:
            return tokens
        channels = tokens.shape[-1]
        bev_map = tokens.transpose(1, 2).reshape(1, channels, self.bev_h, self.bev_w)
        rotated = F.grid_sample(bev_map, grid, mode="nearest", padding_mode="zeros", align_corners=False)
        return rotated.reshape(1, channels, self.bev_h * self.bev_w).transpose(1, 2)


def _cos(angle_rad: Tensor) -> Tensor:
    """Return the cosine as a sine, since not every NPU has Cos."""
    return torch.sin(angle_rad + math.pi / 2)
