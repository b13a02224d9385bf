"""`bevformer make-checkpoint`."""

from __future__ import annotations

import sys
from pathlib import Path

from bevformer_lib.cli.options import Seed
from bevformer_lib.config.image_size import parse_image_size
from bevformer_lib.config.load import load_model_config


def command(config: str, *, output: Path, image_size: str | None = None, seed: Seed = 0) -> None:
    """Write a checkpoint of RANDOM weights in the published layout: it loads like a trained one and sees nothing.

    Args:
        config: preset name (tiny, small, base), or an original config file.
        output: the .pth file to write.
        image_size: padded image size HxW in pixels, instead of the config's own.
        seed: the same seed gives the same weights.
    """
    from bevformer_lib.model.checkpoint import make_checkpoint

    make_checkpoint(load_model_config(config, image_hw=parse_image_size(image_size)), output, seed=seed)
    sys.stdout.write(f"{output}: random weights for {config}, seed {seed}\n")
