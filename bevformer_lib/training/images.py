"""From stored pixels to the network's images, on the device that trains."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.training.settings import TrainingSettings


def normalized(
    images: Tensor, config: ModelConfig, *, augment: TrainingSettings | None, generator: torch.Generator | None = None
) -> Tensor:
    """Return (streams, cameras, 3, H, W) float32, normalised and padded with zeros.

    Args:
        images: (streams, cameras, h, w, 3) uint8 BGR.
        config: the model.
        augment: gain, brightness and noise, drawn for every image; ``None`` for none.
        generator: of what is drawn.
    """
    device = images.device
    pixels = images.permute(0, 1, 4, 2, 3).float()
    if augment is not None:
        shape = (*pixels.shape[:2], 1, 1, 1)
        gain, brightness, spread = (torch.rand(shape, device=device, generator=generator) for _ in range(3))
        noise = torch.randn(pixels.shape, device=device, generator=generator)
        pixels = pixels * (1 + augment.gain * (2 * gain - 1)) + augment.brightness * (2 * brightness - 1)
        pixels = (pixels + noise * (spread * augment.noise)).clamp(0, 255)
    if config.img_norm.to_rgb:
        pixels = pixels.flip(2)
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (config.img_norm.mean, config.img_norm.std))
    height, width = config.image_hw
    padding = (0, width - pixels.shape[-1], 0, height - pixels.shape[-2])
    return F.pad((pixels - mean) / std, padding)
