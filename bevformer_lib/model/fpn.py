"""Feature pyramid network with extra levels (Lin et al., arXiv:1612.03144), as mmdet builds it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bevformer_lib.config.model_config import NeckConfig


class ConvModule(nn.Module):
    """A convolution under mmcv's parameter name ``conv``."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, in, H, W) to (B, out, H / stride, W / stride)."""
        out: Tensor = self.conv(x)
        return out


class FPN(nn.Module):
    """Lateral 1x1 convolutions, nearest top-down sums, 3x3 convolutions; extra levels from the last output."""

    def __init__(self, config: NeckConfig) -> None:
        super().__init__()
        self.relu_before_extra_convs = config.relu_before_extra_convs
        self.num_lateral = len(config.in_channels)
        extra = config.num_outs - self.num_lateral
        self.lateral_convs = nn.ModuleList(
            ConvModule(channels, config.out_channels, 1) for channels in config.in_channels
        )
        self.fpn_convs = nn.ModuleList(
            [ConvModule(config.out_channels, config.out_channels, 3) for _ in config.in_channels]
            + [ConvModule(config.out_channels, config.out_channels, 3, stride=2) for _ in range(extra)]
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Map backbone features, finest first, to ``num_outs`` levels (B, out, H_i, W_i)."""
        merged = [conv(feature) for conv, feature in zip(self.lateral_convs, features, strict=True)]
        for level in range(self.num_lateral - 1, 0, -1):
            finer = merged[level - 1]
            height, width = (int(size) for size in finer.shape[-2:])
            merged[level - 1] = finer + _upsampled(merged[level], height, width)
        outputs = [conv(level) for conv, level in zip(self.fpn_convs, merged, strict=False)]
        for index, conv in enumerate(self.fpn_convs[self.num_lateral :]):
            source = outputs[-1]
            outputs.append(conv(F.relu(source) if index > 0 and self.relu_before_extra_convs else source))
        return outputs


def _upsampled(coarse: Tensor, height: int, width: int) -> Tensor:
    """Repeat the nearest values of (B, C, h, w) to (B, C, height, width).

    A feature map of an odd size has a half that is rounded up; repeating whole pixels and cutting off the last is then
    the same as the original's resizing by a fraction, which the NPU rounds otherwise. Where it is not, as it may be
    between levels that are not neighbours, the pixels are picked one by one.
    """
    coarse_h, coarse_w = (int(size) for size in coarse.shape[-2:])
    factor_h, factor_w = -(-height // coarse_h), -(-width // coarse_w)
    if not (_repeats(coarse_h, height, factor_h) and _repeats(coarse_w, width, factor_w)):
        rows, columns = (
            torch.from_numpy(_nearest(before, after)).to(coarse.device)
            for before, after in ((coarse_h, height), (coarse_w, width))
        )
        return coarse.index_select(2, rows).index_select(3, columns)
    whole = F.interpolate(coarse, size=(coarse_h * factor_h, coarse_w * factor_w), mode="nearest")
    return whole[:, :, :height, :width]


def _repeats(coarse: int, fine: int, factor: int) -> bool:
    """Whether resizing from ``coarse`` to ``fine`` values takes the nearest one ``factor`` times, from the first on."""
    return all(np.array_equal(_nearest(coarse, after), np.arange(after) // factor) for after in (fine, coarse * factor))


def _nearest(coarse: int, fine: int) -> NDArray[np.int64]:
    """Return which of ``coarse`` values PyTorch's nearest interpolation puts at each of ``fine`` places.

    In float32, as PyTorch computes it: a quotient that should be whole may come out just below.
    """
    positions = np.arange(fine, dtype=np.float32) * np.float32(coarse / fine)
    picked: NDArray[np.int64] = np.minimum(np.floor(positions), coarse - 1).astype(np.int64)
    return picked
