"""A model config from whatever names one: a preset, an original config file, or the same content as JSON."""

from __future__ import annotations

from dataclasses import replace

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.config.presets import PRESETS
from bevformer_lib.errors import ConfigError


def load_model_config(source: str, *, image_hw: tuple[int, int] | None = None) -> ModelConfig:
    """Return the model that ``source`` names.

    Args:
        source: a preset name.
        image_hw: padded picture size (height, width) in pixels, instead of the config's own.

    Raises:
        ConfigError: no such preset.
    """
    preset = PRESETS.get(source)
    if preset is None:
        raise ConfigError(f"{source}: neither a preset ({', '.join(PRESETS)})")
    return preset if image_hw is None else replace(preset, image_hw=image_hw)
