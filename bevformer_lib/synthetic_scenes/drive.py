"""How the synthetic car drives: a script of phases, smoothed into what a real car could follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.names import CAN_BUS_POSITION, CAN_BUS_SIZE, CAN_BUS_YAW_DEG, CAN_BUS_YAW_RAD
from bevformer_lib.synthetic_scenes.path import Path, path_from_curvature

LEAD_S: Final = 8.0
"""The drive is known so long before its first and after its last frame, for cars that drive behind and ahead."""
GRAVITY_MPS2: Final = 9.81

_TIME_STEP_S: Final = 0.02
_SPEED_LAG_S: Final = 0.8
_MAX_ACCELERATION_MPS2: Final = 2.5
_MAX_BRAKING_MPS2: Final = 4.0
_STANDING_BELOW_MPS: Final = 0.05
_MAX_CURVATURE_CHANGE_PER_M2: Final = 0.012
_PATH_STEP_M: Final = 0.25
_STRAIGHT_BEYOND_M: Final = 40.0
_CAN_BUS_QUATERNION: Final = slice(3, 7)
_CAN_BUS_ACCELERATION: Final = slice(7, 10)
_CAN_BUS_ROTATION_RATE: Final = slice(10, 13)
_CAN_BUS_VELOCITY: Final = slice(13, 16)


@dataclass(frozen=True)
class Phase:
    """What the driver wants for a while.

    Attributes:
        speed_mps: speed to reach.
        curvature_per_m: curvature to steer, positive to the left.
    """

    duration_s: float
    speed_mps: float
    curvature_per_m: float


@dataclass(frozen=True)
class EgoState:
    """The car at one moment; world frame, z = 0.

    Attributes:
        xy_m: position of the ego frame's origin.
        yaw_rad: heading in [0, 2 pi).
        speed_mps: along the heading.
        acceleration_mps2: along the heading.
        yaw_rate_radps: positive to the left.
    """

    xy_m: tuple[float, float]
    yaw_rad: float
    speed_mps: float
    acceleration_mps2: float
    yaw_rate_radps: float


@dataclass(frozen=True)
class EgoDrive:
    """A whole drive along a path.

    Attributes:
        path: the way, in world coordinates.
        time_s: (n,) moments, first frame at 0.
        arc_m: (n,) arc length driven at these moments.
        speed_mps: (n,).
        acceleration_mps2: (n,).
        curvature_per_m: (n,).
    """

    path: Path
    time_s: NDArray[np.float64]
    arc_m: NDArray[np.float64]
    speed_mps: NDArray[np.float64]
    acceleration_mps2: NDArray[np.float64]
    curvature_per_m: NDArray[np.float64]

    def arc_at(self, time_s: float) -> float:
        """Return the arc length where the car is at ``time_s``."""
        return float(np.interp(time_s, self.time_s, self.arc_m))

    def state_at(self, time_s: float) -> EgoState:
        """Return position and motion at ``time_s``."""
        arc = self.arc_at(time_s)
        speed = float(np.interp(time_s, self.time_s, self.speed_mps))
        return EgoState(
            xy_m=self.path.point_at(arc, 0.0),
            yaw_rad=self.path.yaw_at(arc) % (2 * math.pi),
            speed_mps=speed,
            acceleration_mps2=float(np.interp(time_s, self.time_s, self.acceleration_mps2)),
            yaw_rate_radps=speed * float(np.interp(time_s, self.time_s, self.curvature_per_m)),
        )


def drive(phases: Sequence[Phase], duration_s: float, *, north_between: bool, start_yaw_rad: float) -> EgoDrive:
    """Drive through the phases, over and over (every second time mirrored) until ``duration_s``.

    Args:
        phases: the script; before its start the car drives straight on at the first phase's speed.
        duration_s: time of the last frame.
        north_between: choose the start heading so that the heading passes 360 -> 0 (or back) half way through the turns
            of the drive, instead of ``start_yaw_rad``.
        start_yaw_rad: heading at time 0.
    """
    time = np.arange(-LEAD_S, duration_s + LEAD_S + _TIME_STEP_S, _TIME_STEP_S)
    wanted = [_wanted(phases, float(moment)) for moment in time]
    speed, acceleration, curvature, arc = (np.zeros(len(time)) for _ in range(4))
    speed[0] = phases[0].speed_mps
    for i in range(len(time) - 1):
        target_speed, target_curvature = wanted[i]
        acceleration[i] = _acceleration(speed[i], target_speed)
        speed[i + 1] = max(0.0, speed[i] + acceleration[i] * _TIME_STEP_S)
        moved = (speed[i] + speed[i + 1]) / 2 * _TIME_STEP_S
        arc[i + 1] = arc[i] + moved
        most = _MAX_CURVATURE_CHANGE_PER_M2 * moved
        curvature[i + 1] = curvature[i] + float(np.clip(target_curvature - curvature[i], -most, most))
    acceleration[-1] = acceleration[-2]

    path_arc = np.arange(arc[0] - _STRAIGHT_BEYOND_M, arc[-1] + _STRAIGHT_BEYOND_M, _PATH_STEP_M)
    path_curvature = np.interp(path_arc, arc, curvature, left=0.0, right=0.0)
    path = path_from_curvature(path_arc, path_curvature, start_yaw_rad=0.0)
    first_yaw, last_yaw = (path.yaw_at(float(np.interp(moment, time, arc))) for moment in (0.0, duration_s))
    turned_by = -(first_yaw + last_yaw) / 2 if north_between else start_yaw_rad - first_yaw
    path = path_from_curvature(path_arc, path_curvature, start_yaw_rad=turned_by)
    return EgoDrive(path, time, arc, speed, acceleration, curvature)


def can_bus_absolute(state: EgoState) -> NDArray[np.float64]:
    """Return the (18,) vector in absolute form.

    As in the published data, the four quaternion places all hold its scalar part, acceleration (with gravity), rotation
    rate and velocity are given along the car's own axes.
    """
    values = np.zeros(CAN_BUS_SIZE)
    values[CAN_BUS_POSITION] = (*state.xy_m, 0.0)
    values[_CAN_BUS_QUATERNION] = math.cos(state.yaw_rad / 2)
    values[_CAN_BUS_ACCELERATION] = (
        state.acceleration_mps2,
        state.speed_mps * state.yaw_rate_radps,
        GRAVITY_MPS2,
    )
    values[_CAN_BUS_ROTATION_RATE] = (0.0, 0.0, state.yaw_rate_radps)
    values[_CAN_BUS_VELOCITY] = (state.speed_mps, 0.0, 0.0)
    values[CAN_BUS_YAW_RAD] = state.yaw_rad
    values[CAN_BUS_YAW_DEG] = math.degrees(state.yaw_rad)
    return values


def _wanted(phases: Sequence[Phase], time_s: float) -> tuple[float, float]:
    """Return speed and curvature that the script asks for."""
    if time_s < 0:
        return phases[0].speed_mps, 0.0
    cycle_s = sum(phase.duration_s for phase in phases)
    cycle, remaining = divmod(time_s, cycle_s)
    side = -1.0 if cycle % 2 else 1.0
    for phase in phases:
        if remaining < phase.duration_s:
            return phase.speed_mps, side * phase.curvature_per_m
        remaining -= phase.duration_s
    return phases[-1].speed_mps, side * phases[-1].curvature_per_m


def _acceleration(speed_mps: float, target_mps: float) -> float:
    """Return the acceleration of a driver who nears the wanted speed without jerking, and stops for good."""
    if target_mps == 0.0 and speed_mps < _STANDING_BELOW_MPS:
        return -speed_mps / _TIME_STEP_S
    wanted = (target_mps - speed_mps) / _SPEED_LAG_S
    return float(np.clip(wanted, -_MAX_BRAKING_MPS2, _MAX_ACCELERATION_MPS2))
