"""Size of the images that the network is fed: from a test pipeline, or as the user says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bevformer_lib.config.common_parts import read_image_norm
from bevformer_lib.config.model_config import ImageNormConfig
from bevformer_lib.config.section import Section
from bevformer_lib.errors import ConfigError

NUSCENES_IMAGE_HW: Final = (900, 1600)
"""Height and width of a nuScenes camera's own image, px."""

_SIZE_NEUTRAL_STEPS: Final = frozenset(
    {
        "LoadMultiViewImageFromFiles",
        "DefaultFormatBundle3D",
        "CustomDefaultFormatBundle3D",
        "Collect3D",
        "CustomCollect3D",
    }
)
_SAY_SIZE: Final = "say the padded size with --image-size HEIGHTxWIDTH"


@dataclass(frozen=True)
class NetworkImage:
    """The image as fed.

    Attributes:
        image_hw: padded height and width, px.
        image_scale: factor from the camera's own image to the unpadded one.
    """

    image_hw: tuple[int, int]
    image_scale: float


def parse_image_size(text: str | None) -> tuple[int, int] | None:
    """Return (height, width) of a text such as ``480x800``; ``None`` where none is given.

    Raises:
        ConfigError: not of that form.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if match is None:
        raise ConfigError(f"image size {text!r} is not HEIGHTxWIDTH in pixels, such as 480x800")
    return int(match[1]), int(match[2])


def image_of_size(image_hw: tuple[int, int]) -> NetworkImage:
    """Return a padded size with the largest scale at which nuScenes' image fits into it.

    Raises:
        ConfigError: not two positive numbers.
    """
    height, width = image_hw
    if height < 1 or width < 1:
        raise ConfigError(f"image size {height}x{width}: both sides must be at least 1 pixel")
    return NetworkImage(image_hw, min(height / NUSCENES_IMAGE_HW[0], width / NUSCENES_IMAGE_HW[1]))


def image_of_pipeline(config: Section, img_norm: ImageNormConfig) -> NetworkImage:
    """Return what the config's test pipeline makes of a nuScenes image: normalised, scaled, then padded.

    Args:
        config: the whole config.
        img_norm: the config's normalisation; the pipeline's must be the same.

    Raises:
        ConfigError: there is no such pipeline, or it does something else.
    """
    image_hw = NUSCENES_IMAGE_HW
    scale = 1.0
    done: list[str] = []
    for step in _steps(_test_pipeline(config)):
        kind = step.text("type")
        if kind == "NormalizeMultiviewImage":
            _check_order(step, kind, done, before=("RandomScaleImageMultiViewImage", "PadMultiViewImage"))
            _check_norm(step, img_norm)
        elif kind == "RandomScaleImageMultiViewImage":
            _check_order(step, kind, done, before=("PadMultiViewImage",))
            scale = _scale(step)
            # Truncated, as the original does it.
            image_hw = (int(image_hw[0] * scale), int(image_hw[1] * scale))
        elif kind == "PadMultiViewImage":
            _check_order(step, kind, done, before=())
            image_hw = _padded(step, image_hw)
        elif kind not in _SIZE_NEUTRAL_STEPS:
            raise step.error("type", f"is {kind!r}, whose effect on the image size is not known; {_SAY_SIZE}")
        done.append(kind)
    return NetworkImage(image_hw, scale)


def _test_pipeline(config: Section) -> Sequence[Section]:
    if "data" in config and "test" in config.section("data"):
        test = config.section("data").section("test")
        if "pipeline" in test:
            return test.sections("pipeline")
    if "test_pipeline" in config:
        return config.sections("test_pipeline")
    raise ConfigError(f"{config.source}: has no data.test.pipeline, so the image size is not known; {_SAY_SIZE}")


def _steps(pipeline: Sequence[Section]) -> Iterator[Section]:
    """Yield a pipeline's steps in order, those inside of test-time augmentation included."""
    for step in pipeline:
        if step.text("type") != "MultiScaleFlipAug3D":
            yield step
            continue
        if step.content.get("flip", False):
            raise step.error("flip", "is on; test-time augmentation is not supported, set it to False")
        yield from _steps(step.sections("transforms"))


def _check_order(step: Section, kind: str, done: Sequence[str], before: Sequence[str]) -> None:
    if early := [name for name in (*before, kind) if name in done]:
        raise step.error(
            "type", f"{kind} comes after {early[0]}; images are normalised, scaled, then padded, once each"
        )


def _check_norm(step: Section, img_norm: ImageNormConfig) -> None:
    if read_image_norm(step) != img_norm:
        raise step.error("mean", "(or std, or to_rgb) differs from img_norm_cfg; make them equal")


def _scale(step: Section) -> float:
    (scale,) = step.numbers("scales", 1)
    if scale <= 0:
        raise step.error("scales", f"must be above 0, not {scale}")
    return scale


def _padded(step: Section, image_hw: tuple[int, int]) -> tuple[int, int]:
    if step.content.get("size") is not None:
        sizes = step.integers("size")
        if len(sizes) != 2 or sizes[0] < image_hw[0] or sizes[1] < image_hw[1]:
            raise step.error("size", f"must be a height and a width of at least {image_hw[0]} x {image_hw[1]}")
        return sizes[0], sizes[1]
    divisor = step.positive_int("size_divisor")
    return -(-image_hw[0] // divisor) * divisor, -(-image_hw[1] // divisor) * divisor
