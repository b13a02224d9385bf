from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from bevformer_lib.export.clip import CLIP_FRAMES, clip_frame
from bevformer_lib.names import CAN_BUS_YAW_DEG, CAN_BUS_YAW_RAD
from tests.support.micro import micro_config


def test_shapes_and_types_are_those_of_the_graph() -> None:
    frame = clip_frame(micro_config(), 1, seed=0)
    assert (frame.img.shape, frame.can_bus.shape, frame.lidar2img.shape) == ((1, 6, 3, 96, 160), (1, 18), (1, 6, 4, 4))
    assert {frame.img.dtype, frame.can_bus.dtype, frame.lidar2img.dtype} == {np.dtype(np.float32)}


def test_same_seed_same_frame() -> None:
    first, again, other = (clip_frame(micro_config(), 2, seed=seed) for seed in (3, 3, 4))
    for name in ("img", "can_bus", "lidar2img"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.img, other.img)


def test_the_first_frame_stands_and_the_others_drive_and_turn() -> None:
    frames = [clip_frame(micro_config(), index, seed=0).can_bus[0] for index in range(CLIP_FRAMES)]
    assert not frames[0][:3].any()
    assert frames[0][CAN_BUS_YAW_DEG] == 0
    for before, after in itertools.pairwise(frames):
        assert np.hypot(*after[:2]) > 2.0
        turned_deg = np.degrees(after[CAN_BUS_YAW_RAD] - before[CAN_BUS_YAW_RAD])
        np.testing.assert_allclose(after[CAN_BUS_YAW_DEG], turned_deg, rtol=1e-4)


def test_images_are_pixels_under_the_configs_normalisation() -> None:
    config = micro_config()
    raw = dataclasses.replace(config.img_norm, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    image = clip_frame(dataclasses.replace(config, img_norm=raw), 0, seed=0).img
    assert 0 <= image.min() < 60
    assert 190 < image.max() <= 255
    assert np.abs(np.diff(image, axis=-1)).max() < 30


def test_every_direction_is_seen_at_the_right_place() -> None:
    config = micro_config()
    height, width = config.image_hw
    frame = clip_frame(config, 0, seed=0)
    for bearing_deg in range(0, 360, 5):
        angle = np.radians(bearing_deg)
        point = np.array([20 * -np.sin(angle), 20 * np.cos(angle), 0.0, 1.0])
        u_depth, v_depth, depth, _ = (frame.lidar2img[0].astype(float) @ point).T
        u_px, v_px = u_depth / depth, v_depth / depth
        seen = (depth > 0) & (u_px > 0) & (u_px < width) & (v_px > 0) & (v_px < height)
        assert 1 <= seen.sum() <= 2, bearing_deg
    ahead = frame.lidar2img[0, 0].astype(float) @ np.array([0.0, 20.0, -0.3, 1.0])
    np.testing.assert_allclose(ahead[:2] / ahead[2], [width / 2, height / 2], rtol=1e-5)
