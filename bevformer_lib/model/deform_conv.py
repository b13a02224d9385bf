"""Modulated deformable convolution (DCNv2) built from bilinear sampling and a matrix product.

The NPU has GridSample but no DeformConv. Formula: Zhu et al., "Deformable ConvNets v2" (arXiv:1811.11168), eq. 1,
with the channel order of mmcv's ``ModulatedDeformConv2dPack``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KERNEL = 3
KERNEL_POINTS = KERNEL * KERNEL


class ModulatedDeformConv2d(nn.Module):
    """3x3 modulated deformable convolution, padding 1, no bias.

    ``conv_offset`` gives, per output pixel and group, (dy, dx) for each of the nine kernel points and then nine
    modulation logits.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, deform_groups: int) -> None:
        super().__init__()
        self.stride = stride
        self.deform_groups = deform_groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, KERNEL, KERNEL))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.conv_offset = nn.Conv2d(
            in_channels, deform_groups * 3 * KERNEL_POINTS, KERNEL, stride=stride, padding=KERNEL // 2
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W) to (B, out, H', W')."""
        batch, channels, height, width = x.shape
        offset_and_mask = self.conv_offset(x)
        out_h, out_w = offset_and_mask.shape[-2:]
        groups, cells = self.deform_groups, out_h * out_w
        offset, mask = offset_and_mask.split([groups * 2 * KERNEL_POINTS, groups * KERNEL_POINTS], dim=1)
        offset = offset.reshape(batch * groups, KERNEL_POINTS, 2, cells)
        mask = mask.sigmoid().reshape(batch * groups, 1, KERNEL_POINTS, cells)

        base = _kernel_positions(out_h, out_w, self.stride, x.device)
        position_y = base[:, 0] + offset[:, :, 0]
        position_x = base[:, 1] + offset[:, :, 1]
        grid = torch.stack(
            [position_x * (2 / width) + (1 / width - 1), position_y * (2 / height) + (1 / height - 1)], dim=-1
        )
        sampled = F.grid_sample(
            x.reshape(batch * groups, channels // groups, height, width),
            grid,
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )
        columns = (sampled * mask).reshape(batch, channels * KERNEL_POINTS, cells)
        return torch.matmul(self.weight.flatten(1), columns).reshape(batch, -1, out_h, out_w)


def _kernel_positions(out_h: int, out_w: int, stride: int, device: torch.device) -> Tensor:
    """Return the undeformed sampling positions (9, 2, out_h * out_w), in input pixels, as (y, x)."""
    rows = torch.arange(out_h, dtype=torch.float32, device=device) * stride - KERNEL // 2
    columns = torch.arange(out_w, dtype=torch.float32, device=device) * stride - KERNEL // 2
    intermediate_outputs = torch.arange(KERNEL, dtype=torch.float32, device=device)
    y = (intermediate_outputs.view(KERNEL, 1, 1, 1) + rows.view(1, 1, -1, 1)).expand(KERNEL, KERNEL, out_h, out_w)
    x = (intermediate_outputs.view(1, KERNEL, 1, 1) + columns.view(1, 1, 1, -1)).expand(KERNEL, KERNEL, out_h, out_w)
    return torch.stack([y, x]).reshape(2, KERNEL_POINTS, out_h * out_w).transpose(0, 1).contiguous()
