from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from bevformer_lib.model.ego_motion import BevRotation
from bevformer_lib.runtime.base import TensorSpec
from bevformer_lib.runtime.host import HostPreparation, HostRotation, fed_to, pixels_of
from bevformer_lib.runtime.temporal import TemporalSession
from bevformer_lib.scenes.preprocess import Preprocessor, normalization_table
from bevformer_lib.scenes.types import FrameInputs
from tests.support.fake_runtime import MICRO_INPUTS, MICRO_OUTPUTS, FakeRuntime
from tests.support.micro import micro_config


@pytest.mark.parametrize("yaw_deg", [0.0, 1.5, -3.0, 17.3, 90.0, -180.0])
@pytest.mark.parametrize("center", [(6.0, 5.0), (100.0, 100.0), (3.5, 7.3)])
def test_rotates_as_the_model_does(yaw_deg: float, center: tuple[float, float]) -> None:
    config = dataclasses.replace(micro_config(), rotate_center=center)
    prev_bev = np.random.RandomState(0).standard_normal((120, 1, 32)).astype(np.float32)
    can_bus = np.zeros((1, 18), np.float32)
    can_bus[0, 17] = yaw_deg
    rotation = BevRotation(config)
    expected = rotation(torch.from_numpy(prev_bev), rotation.grid(torch.from_numpy(can_bus))).transpose(0, 1).numpy()
    rotated = HostRotation((config.bev_h, config.bev_w), center)(prev_bev, can_bus)
    assert rotated.dtype == np.float32
    # A cell whose source lies on the border between two may fall to either.
    assert np.mean(np.any(rotated != expected, axis=-1)) <= 0.01


def test_prev_bev_is_rotated_before_it_is_fed_and_kept_as_it_was() -> None:
    def function(feed):  # type: ignore[no-untyped-def]
        bev = np.arange(24, dtype=np.float32).reshape(6, 1, 4) + 1
        rest = {name: np.zeros(shape, np.float32) for name, shape in MICRO_OUTPUTS.items()}
        return {**rest, "bev_embed": bev}

    runtime = FakeRuntime(MICRO_INPUTS, MICRO_OUTPUTS, function)
    session = TemporalSession(runtime, HostPreparation(rotation=HostRotation((2, 3), (1.5, 1.0))))
    inputs = [np.zeros(MICRO_INPUTS[name], np.float32) for name in ("img", "can_bus", "lidar2img")]
    session.step(FrameInputs(*inputs), first=True)
    inputs[1] = inputs[1].copy()
    inputs[1][0, 17] = 180.0
    result = session.step(FrameInputs(*inputs), first=False)
    np.testing.assert_array_equal(runtime.feeds[1]["prev_bev"][::-1], result.prev_bev)


@pytest.mark.parametrize("to_rgb", [True, False])
def test_pixels_survive_normalisation_and_back(to_rgb: bool) -> None:
    img_norm = dataclasses.replace(micro_config().img_norm, to_rgb=to_rgb)
    table = normalization_table(img_norm)
    img = np.broadcast_to(table[None, None, :, None, :], (1, 2, 3, 4, 256)).astype(np.float32)
    assert np.array_equal(pixels_of(img, img_norm), np.broadcast_to(np.arange(256, dtype=np.uint8), img.shape))


def test_pixels_are_made_where_all_models_take_them() -> None:
    config = micro_config()
    preprocessor = Preprocessor(config.image_hw, config.img_norm)
    normalised, pixels = (FakeRuntime(MICRO_INPUTS, MICRO_OUTPUTS, dict) for _ in range(2))
    pixels.inputs["img"] = TensorSpec("img", MICRO_INPUTS["img"], np.dtype(np.uint8))
    assert fed_to(preprocessor, pixels, pixels).pixels
    assert not fed_to(dataclasses.replace(preprocessor, pixels=True), pixels, normalised).pixels
