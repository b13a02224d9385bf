"""The presets say what config files of the original's form say."""

from __future__ import annotations

import pytest
import torch

from bevformer_lib.config.load import load_model_config
from bevformer_lib.config.presets import PRESETS
from bevformer_lib.demo import CHECKPOINT, checkpoint_address
from tests.config.support import FIXTURES


@pytest.mark.parametrize("name", ["tiny", "small", "base"])
def test_preset_equals_config_file(name: str) -> None:
    from_file = load_model_config(str(FIXTURES / "bevformer" / f"{name}.py"))
    assert from_file == PRESETS[name]
    assert from_file.digest() == load_model_config(name).digest()


@pytest.mark.parametrize(
    ("name", "image_hw", "bev", "levels"),
    [("tiny", (480, 800), 50, 1), ("small", (736, 1280), 150, 1), ("base", (928, 1600), 200, 4)],
)
def test_preset_has_the_published_sizes(name: str, image_hw: tuple[int, int], bev: int, levels: int) -> None:
    preset = PRESETS[name]
    assert preset.image_hw == image_hw
    assert (preset.bev_h, preset.bev_w) == (bev, bev)
    assert preset.neck.num_outs == preset.encoder.spatial_levels == levels
    assert preset.rotate_center == (100.0, 100.0)
    assert preset.box_coder.max_num == 300


def test_presets_can_not_be_changed() -> None:
    with pytest.raises(TypeError):
        PRESETS["tiny"] = PRESETS["base"]  # type: ignore[index]


def test_the_shipped_model_is_a_preset_with_weights() -> None:
    config = load_model_config("demo")
    assert (config.name, config.image_hw, config.bev_h) == ("demo", (256, 448), 64)
    weights = torch.load(CHECKPOINT, map_location="cpu", weights_only=True)["state_dict"]
    assert sum(value.numel() for value in weights.values()) == pytest.approx(3.9e6, rel=0.02)
    assert checkpoint_address("demo") == CHECKPOINT
    assert checkpoint_address("./demo") == "./demo"
    assert CHECKPOINT.stat().st_size <= 10e6
