from __future__ import annotations

import numpy as np
import pytest

from bevformer_lib.scenes.ego import can_bus_delta
from bevformer_lib.scenes.reader import SceneRequirements, read_scenes
from tests.support.data import requires_shared_data, shared_data
from tests.support.micro import micro_config


def can_bus(x: float, y: float, yaw_deg: float) -> np.ndarray:
    values = np.arange(100.0, 118.0)
    values[:3] = x, y, 0.5
    values[16:] = np.radians(yaw_deg), yaw_deg
    return values


def test_the_first_frame_has_no_motion_and_keeps_everything_else():
    current = can_bus(600.0, 1600.0, 331.0)
    delta = can_bus_delta(current, None)
    assert delta[:3].tolist() == [0.0, 0.0, 0.0]
    assert delta[17] == 0.0
    np.testing.assert_array_equal(delta[3:17], current[3:17])
    assert current[0] == 600.0, "the recorded values must stay as they are"


def test_later_frames_hold_differences_and_the_absolute_yaw_in_radians():
    previous, current = can_bus(600.0, 1600.0, 330.0), can_bus(603.5, 1598.0, 331.25)
    delta = can_bus_delta(current, previous)
    assert delta[:3].tolist() == [3.5, -2.0, 0.0]
    assert delta[17] == 1.25
    np.testing.assert_array_equal(delta[3:17], current[3:17])
    assert delta.dtype == np.float64


@pytest.mark.parametrize(
    ("previous_deg", "current_deg", "expected_deg"),
    [
        (359.0, 1.0, 2.0),
        (1.0, 359.0, -2.0),
        (0.0, 180.0, 180.0),
        (180.0, 0.0, 180.0),
        (90.0, 271.0, -179.0),
        (5.0, 5.0, 0.0),
    ],
)
def test_yaw_differences_are_taken_on_the_circle(previous_deg: float, current_deg: float, expected_deg: float):
    delta = can_bus_delta(can_bus(0.0, 0.0, current_deg), can_bus(0.0, 0.0, previous_deg))
    assert delta[17] == pytest.approx(expected_deg, abs=1e-12)


@requires_shared_data
def test_ego_motion_of_real_frames_is_the_published_one():
    root = shared_data() / "nuscenes_scene_0103" / "extracted_data"
    (scene,) = read_scenes(root, SceneRequirements(6, (480, 800), micro_config().img_norm))
    published = [(-0.0001398, 0.04163), (-0.00032, 0.0413), (-0.0004592, 0.04077)]
    for previous, current, (shift_x, shift_y) in zip(scene.frames, scene.frames[1:], published, strict=False):
        delta = can_bus_delta(current.can_bus_absolute, previous.can_bus_absolute)
        dx, dy, yaw = delta[0], delta[1], delta[16]
        assert (dx * np.cos(yaw) + dy * np.sin(yaw)) / 102.4 == pytest.approx(shift_y, abs=2e-5)
        assert (dx * np.sin(yaw) - dy * np.cos(yaw)) / 102.4 == pytest.approx(shift_x, abs=5e-7)
