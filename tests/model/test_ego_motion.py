"""The history follows the car: shift, rotation, and the difference between no history and an empty one."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.model.bevformer import build_model
from bevformer_lib.model.ego_motion import BevRotation, BevShift, has_history
from bevformer_lib.model.random_weights import randomize
from tests.support.micro import micro_config


def can_bus(*, dx_m: float = 0.0, dy_m: float = 0.0, yaw_rad: float = 0.0, delta_yaw_deg: float = 0.0) -> torch.Tensor:
    values = torch.zeros(1, 18)
    values[0, 0], values[0, 1], values[0, 16], values[0, 17] = dx_m, dy_m, yaw_rad, delta_yaw_deg
    return values


@pytest.mark.parametrize("yaw_deg", [0.0, 37.0, 90.0, 180.0, 271.5, 359.9])
def test_driving_straight_shifts_along_the_forward_axis(yaw_deg: float) -> None:
    config = micro_config()
    yaw = math.radians(yaw_deg)
    shift = BevShift(config)(can_bus(dx_m=5.12 * math.cos(yaw), dy_m=5.12 * math.sin(yaw), yaw_rad=yaw))
    torch.testing.assert_close(shift, torch.tensor([[0.0, 5.12 / 102.4]]), atol=1e-6, rtol=0)


def test_shift_equals_the_originals_polar_form() -> None:
    dx, dy, yaw = 3.0, -1.7, 1.1
    length, direction = math.hypot(dx, dy), math.atan2(dy, dx) / math.pi * 180
    angle = (yaw / math.pi * 180 - direction) / 180 * math.pi
    expected = torch.tensor([[length * math.sin(angle) / 102.4, length * math.cos(angle) / 102.4]])
    torch.testing.assert_close(BevShift(micro_config())(can_bus(dx_m=dx, dy_m=dy, yaw_rad=yaw)), expected)


def test_no_turn_leaves_the_history_as_it_is() -> None:
    config = dataclasses.replace(micro_config(), rotate_center=(100.0, 100.0))
    prev_bev = torch.randn(config.num_bev_cells, 1, config.embed_dims)
    rotated = _rotated(config, prev_bev, can_bus())
    assert torch.equal(rotated.transpose(0, 1), prev_bev)


def test_quarter_turn_about_the_middle_of_a_square_map() -> None:
    config = dataclasses.replace(micro_config(), bev_h=4, bev_w=4, rotate_center=(2.0, 2.0))
    prev_bev = torch.arange(16.0).view(16, 1, 1)
    rotated = _rotated(config, prev_bev, can_bus(delta_yaw_deg=90.0)).view(4, 4)
    # torchvision turns counter-clockwise as seen on the image (y down), and so does the original.
    assert torch.equal(rotated, torch.rot90(prev_bev.view(4, 4), 1))


def test_history_is_told_from_its_absence() -> None:
    assert not has_history(torch.zeros(6, 1, 4)).item()
    for value in (1e-30, -1e-3):
        prev_bev = torch.zeros(6, 1, 4)
        prev_bev[5, 0, 3] = value
        assert has_history(prev_bev).item()


def test_without_history_ego_motion_only_reaches_the_can_bus_embedding() -> None:
    config = dataclasses.replace(micro_config(), use_can_bus=False)
    model = build_model(config)
    randomize(model, seed=0)
    img, lidar2img = torch.randn(1, 6, 3, *config.image_hw), torch.eye(4).expand(1, 6, 4, 4)
    moved = can_bus(dx_m=4.0, dy_m=1.0, yaw_rad=0.3, delta_yaw_deg=8.0)
    with torch.no_grad():
        still_bev, *_ = model(img, can_bus(), lidar2img, torch.zeros(config.num_bev_cells, 1, config.embed_dims))
        moved_bev, *_ = model(img, moved, lidar2img, torch.zeros(config.num_bev_cells, 1, config.embed_dims))
        still_next, *_ = model(img, can_bus(), lidar2img, still_bev)
        moved_next, *_ = model(img, moved, lidar2img, still_bev)
    assert torch.equal(still_bev, moved_bev)
    assert not torch.allclose(still_next, moved_next, atol=1e-3)


def _rotated(config: ModelConfig, prev_bev: torch.Tensor, can_bus: torch.Tensor) -> torch.Tensor:
    rotation = BevRotation(config)
    return rotation(prev_bev, rotation.grid(can_bus))
