"""The sampling step of deformable attention (Zhu et al., "Deformable DETR", arXiv:2010.04159, eq. 2)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def project_map(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply a linear layer to every cell of a map: (B, in, H, W) to (B, out, H, W).

    A 1x1 convolution with the linear layer's parameters: the map stays in the layout that sampling needs, so no
    transposition remains in the graph.
    """
    return F.conv2d(x, weight[:, :, None, None], bias)


def sample_and_weigh(value: Tensor, grid: Tensor, weights: Tensor) -> Tensor:
    """Sample every head's value map bilinearly and sum the samples by their attention weights.

    Args:
        value: (B, heads * dims, H, W).
        grid: (B, heads, points, queries, 2) sampling positions (x, y); -1 and 1 are the map's outer edges. Positions
            outside give zero.
        weights: (B or 1, heads, points, queries).

    Returns:
        (B, heads * dims, queries).
    """
    batch, heads, points, queries, _ = grid.shape
    channels, height, width = value.shape[1:]
    sampled = F.grid_sample(
        value.reshape(batch * heads, channels // heads, height, width),
        grid.reshape(batch * heads, points, queries, 2),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    sampled = sampled.reshape(batch, heads, channels // heads, points, queries)
    # The queries stay innermost: a sum over an innermost axis of a few points leaves vector units idle.
    return (sampled * weights.unsqueeze(2)).sum(-2).reshape(batch, channels, queries)
