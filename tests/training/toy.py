"""A toy model and a few tiny scenes to train it on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bevformer_lib.config.load import load_model_config
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.training.scene_pool import PoolRecipe, SceneArrays, ScenePool

DEMO_CONFIG = Path(__file__).parents[2] / "bevformer_lib" / "demo" / "bevformer_demo.py"
_SMALLER = (
    ("_dim_, _ff_, _heads_, _rows_ = 128, 256, 4, 64", "_dim_, _ff_, _heads_, _rows_ = 32, 64, 4, 16"),
    ("base_channels=16", "base_channels=4"),
    ("in_channels=[128, 256, 512]", "in_channels=[32, 64, 128]"),
    ("num_query=200", "num_query=40"),
    ("rotate_center=[32, 32]", "rotate_center=[8, 8]"),
    ("num_layers=3", "num_layers=2"),
    ("scales=[0.28]", "scales=[0.1]"),
)


def write_toy_config(path: Path) -> Path:
    """Write the demo model's config with everything smaller: images of 96 x 160, BEV 16 x 16, 40 queries."""
    text = DEMO_CONFIG.read_text(encoding="utf-8")
    for before, after in _SMALLER:
        assert before in text, before
        text = text.replace(before, after)
    path.write_text(text, encoding="utf-8")
    return path


def toy_config(folder: Path) -> ModelConfig:
    """The toy model's configuration."""
    return load_model_config(str(write_toy_config(folder / "toy.py")))


def noise_scene(config: ModelConfig, frames: int, seed: int) -> SceneArrays:
    """A scene of noise with boxes in random places, as arrays."""
    rng = np.random.default_rng(seed)
    recipe = PoolRecipe.of(config, frames)
    boxes_per_frame = 3 + seed % 3
    boxes = rng.normal(size=(frames * boxes_per_frame, 10)).astype(np.float32)
    boxes[:, :2] *= 15
    can_bus = rng.normal(size=(frames, 18))
    can_bus[:, 16] %= 2 * np.pi
    can_bus[:, 17] = np.rad2deg(can_bus[:, 16])
    shape = (frames, config.num_cams, *recipe.map_hw)
    return SceneArrays(
        images=rng.integers(0, 256, (frames, config.num_cams, 90, 160, 3), dtype=np.uint8),
        lidar_to_image=(rng.normal(size=(frames, config.num_cams, 4, 4)) * 50).astype(np.float32),
        can_bus_absolute=can_bus,
        boxes=boxes,
        labels=rng.integers(0, config.num_classes, len(boxes)),
        box_ends=np.arange(1, frames + 1) * boxes_per_frame,
        class_map=rng.integers(0, config.num_classes + 1, shape, dtype=np.uint8),
        log_distance=rng.uniform(1, 4, shape).astype(np.float16),
    )


def noise_pool(folder: Path, config: ModelConfig, *, scenes: int = 3, frames: int = 4) -> ScenePool:
    """A pool of such scenes, numbered from 0."""
    pool = ScenePool(folder)
    for number in range(scenes):
        pool.write(number, noise_scene(config, frames, number))
    return pool
