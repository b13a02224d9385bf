"""ResNet-50 and -101 as mmdet builds them for BEVFormer (He et al., arXiv:1512.03385)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from bevformer_lib.config.model_config import BackboneConfig
from bevformer_lib.model.deform_conv import ModulatedDeformConv2d

BLOCKS_PER_STAGE = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution with a shortcut.

    The stride sits on the 3x3 convolution (``pytorch`` style) or on the first 1x1 (``caffe`` style).
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int, config: BackboneConfig, use_dcn: bool) -> None:
        super().__init__()
        stride_1, stride_2 = (1, stride) if config.style == "pytorch" else (stride, 1)
        out_channels = channels * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, channels, 1, stride=stride_1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2: nn.Module
        if use_dcn:
            self.conv2 = ModulatedDeformConv2d(channels, channels, stride=stride_2, deform_groups=config.deform_groups)
        else:
            self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride_2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, 4 * channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out)) + shortcut
        return F.relu(out)


class ResNet(nn.Module):
    """Stem and four stages; puts out the stages named by ``out_indices``, finest first."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.out_indices = config.out_indices
        stem_channels = config.base_channels
        self.conv1 = nn.Conv2d(3, stem_channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem_channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        in_channels = stem_channels
        for stage, num_blocks in enumerate(BLOCKS_PER_STAGE[config.depth]):
            channels = stem_channels * 2**stage
            blocks = []
            for block in range(num_blocks):
                stride = 2 if block == 0 and stage > 0 else 1
                blocks.append(
                    Bottleneck(
                        in_channels,
                        channels,
                        stride=stride,
                        config=config,
                        use_dcn=config.stage_with_dcn[stage],
                    )
                )
                in_channels = channels * EXPANSION
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, img: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to the chosen stages' features (B, C_i, H_i, W_i)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(img))))
        features = []
        for stage in range(max(self.out_indices) + 1):
            x = self.get_submodule(f"layer{stage + 1}")(x)
            if stage in self.out_indices:
                features.append(x)
        return features
