from __future__ import annotations

import math

import numpy as np
import pytest

from bevformer_lib.names import CAN_BUS_SIZE
from bevformer_lib.synthetic_scenes.drive import EgoDrive, Phase, can_bus_absolute, drive
from bevformer_lib.synthetic_scenes.layout import SCRIPTS


def _drive(script: int, duration_s: float = 5.5) -> EgoDrive:
    chosen = SCRIPTS[script]
    return drive(chosen.phases, duration_s, north_between=chosen.passes_north, start_yaw_rad=1.0)


@pytest.mark.parametrize("script", range(len(SCRIPTS)))
def test_position_speed_and_yaw_rate_agree(script: int) -> None:
    ego = _drive(script)
    step = 0.05
    for time in np.arange(0.1, 5.5, 0.37):
        before, now, after = (ego.state_at(time + offset) for offset in (-step, 0.0, step))
        moved = np.subtract(after.xy_m, before.xy_m)
        heading = np.array([math.cos(now.yaw_rad), math.sin(now.yaw_rad)])
        np.testing.assert_allclose(moved / (2 * step), now.speed_mps * heading, atol=0.12)
        turned = math.remainder(after.yaw_rad - before.yaw_rad, 2 * math.pi)
        assert turned / (2 * step) == pytest.approx(now.yaw_rate_radps, abs=0.05)
        assert after.speed_mps - before.speed_mps == pytest.approx(2 * step * now.acceleration_mps2, abs=0.15)


def test_the_first_two_scripts_drive_straight_turn_and_stand_in_twelve_frames() -> None:
    states = [_drive(script).state_at(frame * 0.5) for script in (0, 1) for frame in range(12)]
    assert any(state.speed_mps > 5 and abs(state.yaw_rate_radps) < 1e-3 for state in states)
    assert any(state.yaw_rate_radps > 0.2 for state in states)
    assert any(state.yaw_rate_radps < -0.2 for state in states)
    assert sum(state.speed_mps < 0.1 for state in states) >= 3


def test_the_first_script_passes_north() -> None:
    yaws = [_drive(0).state_at(frame * 0.5).yaw_rad for frame in range(12)]
    assert all(0.0 <= yaw < 2 * math.pi for yaw in yaws)
    assert max(abs(np.diff(yaws))) > math.pi


def test_a_car_told_to_stand_stands_still() -> None:
    ego = drive((Phase(1.0, 6.0, 0.0), Phase(30.0, 0.0, 0.1)), 12.0, north_between=False, start_yaw_rad=0.5)
    assert ego.state_at(8.0) == ego.state_at(12.0)
    assert ego.state_at(12.0).speed_mps == 0.0


def test_can_bus_vector() -> None:
    state = _drive(0).state_at(2.5)
    vector = can_bus_absolute(state)
    assert vector.shape == (CAN_BUS_SIZE,)
    np.testing.assert_allclose(vector[:3], (*state.xy_m, 0.0))
    np.testing.assert_allclose(vector[3:7], math.cos(state.yaw_rad / 2))
    np.testing.assert_allclose(vector[7:10], (state.acceleration_mps2, state.speed_mps * state.yaw_rate_radps, 9.81))
    np.testing.assert_allclose(vector[10:13], (0.0, 0.0, state.yaw_rate_radps))
    np.testing.assert_allclose(vector[13:16], (state.speed_mps, 0.0, 0.0))
    assert vector[17] == pytest.approx(math.degrees(vector[16]))
