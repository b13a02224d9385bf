"""A model config from whatever names one: a preset, an original config file, or the same content as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bevformer_lib.config.image_size import image_of_size
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.config.original import model_config_from_original
from bevformer_lib.config.presets import PRESETS
from bevformer_lib.config.python_config import read_config_text, read_python_config
from bevformer_lib.config.sizes import check_sizes
from bevformer_lib.demo import CONFIG, DEMO
from bevformer_lib.errors import ConfigError
from bevformer_lib.strict_json import parse_json

SHIPPED_CONFIGS: Final[Mapping[str, Path]] = {DEMO: CONFIG}
"""Preset name -> config file of a model that comes with its weights."""


def load_model_config(source: str, *, image_hw: tuple[int, int] | None = None) -> ModelConfig:
    """Return the model that ``source`` names.

    Args:
        source: a preset name, the original's Python config file, or a ``.json`` file in the original's form.
        image_hw: padded image size (height, width) in pixels, instead of the config's own.

    Raises:
        ConfigError: neither a preset nor such a file, or the file does not describe a model that can be built.
    """
    config = _read_model_config(source, image_hw)
    check_sizes(config, source)
    return config


def _read_model_config(source: str, image_hw: tuple[int, int] | None) -> ModelConfig:
    if source in PRESETS:
        preset = PRESETS[source]
        if image_hw is None or image_hw == preset.image_hw:
            return preset
        image = image_of_size(image_hw)
        return replace(preset, image_hw=image.image_hw, image_scale=image.image_scale)
    path = SHIPPED_CONFIGS.get(source, Path(source))
    name = source if source in SHIPPED_CONFIGS else path.stem
    if path.suffix == ".py":
        content = read_python_config(path)
    elif path.suffix == ".json":
        content = read_json_object(path)
    else:
        raise ConfigError(
            f"{source}: not a known config; use a preset ({', '.join((*PRESETS, *SHIPPED_CONFIGS))}), an original "
            "config file (.py), or the same content as .json"
        )
    return model_config_from_original(content, name=name, source=source, image_hw=image_hw)


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        ConfigError: unreadable, not JSON, holds NaN or an infinity, is nested too deep, or is no object.
    """
    try:
        content = parse_json(read_config_text(path))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold a JSON object, not a {type(content).__name__}")
    return content
