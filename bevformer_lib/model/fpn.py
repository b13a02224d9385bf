"""Feature pyramid network with extra levels (Lin et al., arXiv:1612.03144), as mmdet builds it."""

from __future__ import annotations

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
            merged[level - 1] = finer + F.interpolate(merged[level], size=finer.shape[-2:], mode="nearest")
        outputs = [conv(level) for conv, level in zip(self.fpn_convs, merged, strict=False)]
        for index, conv in enumerate(self.fpn_convs[self.num_lateral :]):
            source = outputs[-1]
            outputs.append(conv(F.relu(source) if index > 0 and self.relu_before_extra_convs else source))
        return outputs
