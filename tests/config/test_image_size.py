"""Image sizes from test pipelines and from the user."""

from __future__ import annotations

from typing import Any

import pytest

from bevformer_lib.config.image_size import NetworkImage, image_of_pipeline, image_of_size, parse_image_size
from bevformer_lib.config.model_config import ImageNormConfig
from bevformer_lib.config.section import Section
from bevformer_lib.errors import ConfigError

NORM = ImageNormConfig(mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 1.0), to_rgb=False)
LOAD = {"type": "LoadMultiViewImageFromFiles"}
NORMALISE = {"type": "NormalizeMultiviewImage", "mean": [1, 2, 3], "std": [1, 1, 1], "to_rgb": False}
SCALE = {"type": "RandomScaleImageMultiViewImage", "scales": [0.4]}
PAD = {"type": "PadMultiViewImage", "size_divisor": 32}


def _image(*steps: dict[str, Any]) -> NetworkImage:
    config = {"data": {"test": {"pipeline": list(steps)}}, "test_pipeline": [{"type": "Other"}]}
    return image_of_pipeline(Section(config, "some.py"), NORM)


def test_scaled_then_padded() -> None:
    assert _image(LOAD, NORMALISE, SCALE, PAD) == NetworkImage((384, 640), 0.4)
    assert _image(LOAD, NORMALISE, SCALE) == NetworkImage((360, 640), 0.4)
    assert _image(LOAD, NORMALISE, PAD) == NetworkImage((928, 1600), 1.0)
    assert _image(NORMALISE, {"type": "PadMultiViewImage", "size": (1000, 1700)}).image_hw == (1000, 1700)


def test_scaled_size_is_truncated_as_in_the_original() -> None:
    assert _image(NORMALISE, {**SCALE, "scales": [0.333]}).image_hw == (299, 532)


def test_steps_inside_of_augmentation() -> None:
    assert _image(NORMALISE, {"type": "MultiScaleFlipAug3D", "transforms": [SCALE, PAD]}).image_hw == (384, 640)
    with pytest.raises(ConfigError, match=r"some\.py: data\.test\.pipeline\.0\.flip is on"):
        _image({"type": "MultiScaleFlipAug3D", "flip": True, "transforms": []})


def test_top_level_test_pipeline() -> None:
    config = Section({"data": {"test": {}}, "test_pipeline": [NORMALISE, SCALE, PAD]}, "some.py")
    assert image_of_pipeline(config, NORM).image_hw == (384, 640)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((PAD, SCALE), r"RandomScaleImageMultiViewImage comes after PadMultiViewImage"),
        ((PAD, NORMALISE), r"NormalizeMultiviewImage comes after PadMultiViewImage"),
        ((SCALE, SCALE), r"once each"),
        (({**SCALE, "scales": [0.5, 1.0]},), r"pipeline\.0\.scales must hold 1 values, not 2"),
        (({**SCALE, "scales": [-1]},), r"scales must be above 0"),
        (({"type": "PadMultiViewImage"},), r"size_divisor is missing"),
        (({"type": "PadMultiViewImage", "size": [100, 100]},), r"at least 900 x 1600"),
        (({"type": "CropMultiViewImage"},), r"pipeline\.0\.type is 'CropMultiViewImage'.*--image-size"),
        (({**NORMALISE, "mean": [9, 9, 9]},), r"differs from img_norm_cfg"),
    ],
)
def test_other_pipelines_are_refused(steps: tuple[dict[str, Any], ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _image(*steps)


def test_no_pipeline() -> None:
    with pytest.raises(ConfigError, match=r"some\.json: has no data\.test\.pipeline.*--image-size"):
        image_of_pipeline(Section({}, "some.json"), NORM)


@pytest.mark.parametrize(
    ("image_hw", "scale"), [((480, 800), 0.5), ((736, 1280), 0.8), ((928, 1600), 1.0), ((96, 160), 0.1)]
)
def test_largest_scale_that_fits(image_hw: tuple[int, int], scale: float) -> None:
    assert image_of_size(image_hw) == NetworkImage(image_hw, scale)


def test_empty_size() -> None:
    with pytest.raises(ConfigError, match="0x160: both sides"):
        image_of_size((0, 160))


def test_parse_image_size() -> None:
    assert parse_image_size("480x800") == (480, 800)
    for text in ("480", "480X800", "480x800x3", "0x800", "-1x800", "4.5x8", "", "480x999999"):
        with pytest.raises(ConfigError, match="HEIGHTxWIDTH"):
            parse_image_size(text)
