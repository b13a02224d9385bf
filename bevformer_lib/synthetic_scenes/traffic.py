"""Parked and moving vehicles, people and road works, placed without collisions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.synthetic_scenes.drive import LEAD_S, EgoDrive
from bevformer_lib.synthetic_scenes.ground import StreetProfile
from bevformer_lib.synthetic_scenes.mesh import Color, Mesh
from bevformer_lib.synthetic_scenes.people import Clothes, bicycle, motorcycle, pedestrian
from bevformer_lib.synthetic_scenes.street import barrier, traffic_cone
from bevformer_lib.synthetic_scenes.vehicles import bus, car, construction_vehicle, trailer, truck
from bevformer_lib.synthetic_scenes.world import Actor, Motion

EGO_SIZE_WLH_M: Final = (1.9, 4.6, 1.75)
EGO_CENTER_AHEAD_M: Final = 1.4
"""The middle of the ego car lies so far ahead of its rear axle."""
LANE_M: Final = 3.5
PARKING_M: Final = 2.3

_BEHIND_M: Final = 65.0
_AHEAD_M: Final = 75.0
_CHECK_STEP_S: Final = 0.25
_CLEARANCE_M: Final = 0.3
_WALKING_MPS: Final = (0.9, 1.7)
_PAINTS: Final[tuple[Color, ...]] = (
    (0.86, 0.86, 0.85),
    (0.62, 0.62, 0.60),
    (0.14, 0.14, 0.14),
    (0.30, 0.29, 0.27),
    (0.16, 0.14, 0.58),
    (0.48, 0.26, 0.12),
    (0.55, 0.42, 0.24),
    (0.20, 0.34, 0.20),
    (0.24, 0.50, 0.72),
)
_CLOTHES: Final[tuple[Color, ...]] = (
    (0.20, 0.18, 0.16),
    (0.46, 0.30, 0.16),
    (0.18, 0.16, 0.55),
    (0.75, 0.74, 0.72),
    (0.30, 0.48, 0.26),
    (0.22, 0.55, 0.78),
    (0.42, 0.22, 0.40),
)
_SKINS: Final[tuple[Color, ...]] = ((0.55, 0.66, 0.84), (0.36, 0.48, 0.66), (0.20, 0.28, 0.42))
_HAIRS: Final[tuple[Color, ...]] = ((0.08, 0.09, 0.11), (0.14, 0.22, 0.32), (0.42, 0.60, 0.70))
_MACHINE_YELLOW: Final = (0.10, 0.62, 0.88)

_Vehicle: TypeAlias = tuple[str, tuple[float, float, float], Callable[[float], Mesh]]


def populate(
    rng: np.random.Generator,
    ego: EgoDrive,
    profile: StreetProfile,
    crosswalks_m: Sequence[float],
    duration_s: float,
) -> tuple[Actor, ...]:
    """Return the actors of a scene; one that would touch an earlier one, or the ego car, is left out."""
    times = np.arange(0.0, duration_s + _CHECK_STEP_S, _CHECK_STEP_S)
    ego_motion = Motion(ego.time_s, ego.arc_m + EGO_CENTER_AHEAD_M, np.zeros(len(ego.time_s)), 0.0)
    taken = [_discs(EGO_SIZE_WLH_M, ego_motion, ego, times)]
    accepted: list[Actor] = []
    candidates = (
        _crossing_people(rng, ego, profile, crosswalks_m),
        _waiting_oncoming(rng, profile, crosswalks_m),
        _same_direction(rng, ego, profile),
        _road_works(rng, ego, profile, duration_s),
        _oncoming(rng, ego, profile, duration_s),
        _parked(rng, ego, profile, duration_s),
        _on_pavements(rng, ego, profile, duration_s),
    )
    for source in candidates:
        for actor in source:
            discs = _discs(actor.size_wlh_m, actor.motion, ego, times)
            if not any(_touch(discs, other) for other in taken):
                taken.append(discs)
                accepted.append(actor)
    return tuple(accepted)


def _crossing_people(
    rng: np.random.Generator, ego: EgoDrive, profile: StreetProfile, crosswalks_m: Sequence[float]
) -> Iterator[Actor]:
    """Yield people who cross while the ego car stands before their zebra crossing."""
    edges = (profile.right_edge_m - 1.2, profile.left_edge_m + 1.2)
    for crossing in crosswalks_m:
        standing = ego.time_s[(ego.speed_mps < 0.5) & (np.abs(ego.arc_m - crossing) < 12.0)]
        if len(standing) == 0:
            continue
        for _ in range(5):
            size, body = _person(rng)
            left_to_right = bool(rng.integers(2))
            start, end = edges[::-1] if left_to_right else edges
            takes_s = abs(end - start) / rng.uniform(1.1, 1.6)
            start_s = rng.uniform(standing[0] - 0.5 * takes_s, standing[-1] - 0.6 * takes_s)
            arc = np.full(2, crossing + rng.uniform(-1.4, 1.4))
            turned = -math.pi / 2 if left_to_right else math.pi / 2
            motion = Motion(np.array([start_s, start_s + takes_s]), arc, np.array([start, end]), turned)
            yield Actor("pedestrian", size, motion, body)


def _waiting_oncoming(
    rng: np.random.Generator, profile: StreetProfile, crosswalks_m: Sequence[float]
) -> Iterator[Actor]:
    """Yield a queue that waits on the other side of each zebra crossing."""
    for crossing in crosswalks_m:
        arc = crossing + 3.6
        for _ in range(int(rng.integers(2, 5))):
            category, size, body = _vehicle(rng)
            arc += size[1] / 2
            yield Actor(category, size, _still(arc, profile.middle_line_m + LANE_M / 2, math.pi), body)
            arc += size[1] / 2 + rng.uniform(1.2, 2.5)


def _same_direction(rng: np.random.Generator, ego: EgoDrive, profile: StreetProfile) -> Iterator[Actor]:
    """Yield cars that drive as the ego car does, a little later or earlier, in its lane and in the next."""
    lanes = [0.0, *(line + LANE_M / 2 for line in profile.lane_lines_m if line < profile.middle_line_m)]
    for lane in lanes:
        for delay_s, gap_m in ((-1.5, 8.0), (-3.2, 20.0), (1.4, -9.0), (3.0, -21.0)):
            category, size, body = _vehicle(rng)
            lag = delay_s + (rng.uniform(-0.6, 0.6) if lane else 0.0)
            inside = np.abs(ego.time_s) <= ego.time_s[-1] - LEAD_S + 1.0
            time = ego.time_s[inside][::5]
            shifted = np.interp(time - lag, ego.time_s, ego.arc_m)
            gap = gap_m + EGO_CENTER_AHEAD_M + rng.uniform(-1.0, 3.0) + math.copysign(size[1] / 2 - 2.3, gap_m)
            yield Actor(category, size, Motion(time, shifted + gap, np.full(len(time), lane), 0.0), body)


def _oncoming(rng: np.random.Generator, ego: EgoDrive, profile: StreetProfile, duration_s: float) -> Iterator[Actor]:
    first, last = _extent(ego, duration_s)
    speed = rng.uniform(3.0, 13.0)
    lanes = [profile.middle_line_m + LANE_M / 2]
    lanes += [line + LANE_M / 2 for line in profile.lane_lines_m if line > profile.middle_line_m]
    for lane in lanes:
        arc = first + rng.uniform(0.0, 15.0)
        while arc < last + speed * duration_s:
            category, size, body = _vehicle(rng)
            time = np.array([-LEAD_S, duration_s + LEAD_S])
            yield Actor(category, size, Motion(time, arc - speed * time, np.full(2, lane), math.pi), body)
            arc += size[1] + rng.uniform(9.0, 30.0)


def _parked(rng: np.random.Generator, ego: EgoDrive, profile: StreetProfile, duration_s: float) -> Iterator[Actor]:
    first, last = _extent(ego, duration_s)
    sides = [(profile.right_edge_m + PARKING_M / 2, 0.0)]
    if len(profile.parking_lines_m) > 1:
        sides.append((profile.left_edge_m - PARKING_M / 2, math.pi))
    for offset, turned in sides:
        arc = first
        while arc < last:
            draw = rng.uniform()
            if draw < 0.09:
                category, size, body = _trailer(rng)
            elif draw < 0.15:
                category, size, body = _two_wheeler(rng, "motorcycle", ridden=False)
            elif draw < 0.21:
                category, size, body = _two_wheeler(rng, "bicycle", ridden=False)
            else:
                category, size, body = _vehicle(rng, narrow=True)
            yield Actor(category, size, _still(arc + size[1] / 2, offset, turned), body, left_alone=True)
            arc += size[1] + (rng.uniform(0.8, 2.0) if rng.uniform() < 0.6 else rng.uniform(4.0, 16.0))


def _road_works(rng: np.random.Generator, ego: EgoDrive, profile: StreetProfile, duration_s: float) -> Iterator[Actor]:
    """Yield a closed piece of the parking lane: barriers across, a digger behind them, cones along."""
    middle_of_lane = profile.right_edge_m + PARKING_M / 2
    arc = ego.arc_at(0.5 * duration_s) + rng.uniform(12.0, 24.0)
    size = (2.1, rng.uniform(4.8, 5.8), rng.uniform(2.6, 3.0))
    body = partial(_constant, construction_vehicle(size, _MACHINE_YELLOW))
    yield Actor("construction_vehicle", size, _still(arc + 5.5, middle_of_lane - 0.1, math.pi), body, left_alone=True)
    for end in (arc, arc + 11.0):
        size = (1.9, 0.5, 1.0)
        yield Actor("barrier", size, _still(end, middle_of_lane, 0.0), partial(_constant, barrier(size)))
    for step in range(7):
        size = (0.38, 0.38, 0.75)
        at = _still(arc - 1.0 + 2.2 * step, profile.right_edge_m + PARKING_M + 0.05, 0.0)
        yield Actor("traffic_cone", size, at, partial(_constant, traffic_cone(size)))


def _on_pavements(
    rng: np.random.Generator, ego: EgoDrive, profile: StreetProfile, duration_s: float
) -> Iterator[Actor]:
    """Yield people who walk or stand on both pavements, and some on bicycles."""
    first, last = _extent(ego, duration_s)
    near, far = 1.5, profile.pavement_m - 0.4
    sides = ((profile.right_edge_m, -1.0), (profile.left_edge_m, 1.0))
    for edge, outwards in sides:
        arc = first
        while arc < last:
            arc += rng.uniform(2.5, 13.0)
            offset = edge + outwards * rng.uniform(near, far)
            ahead = bool(rng.integers(2))
            draw = rng.uniform()
            if draw < 0.24:
                category, size, body = _two_wheeler(rng, "bicycle", ridden=True)
                speed = rng.uniform(2.5, 6.5)
            else:
                category, (size, body) = "pedestrian", _person(rng)
                speed = 0.0 if draw < 0.3 else rng.uniform(*_WALKING_MPS)
            time = np.array([-LEAD_S, duration_s + LEAD_S])
            arcs = arc + (speed if ahead else -speed) * time
            yield Actor(category, size, Motion(time, arcs, np.full(2, offset), 0.0 if ahead else math.pi), body)


def _vehicle(rng: np.random.Generator, *, narrow: bool = False) -> _Vehicle:
    """Draw a vehicle of the flowing traffic, or (``narrow``) one that fits a parking lane."""
    draw = rng.uniform()
    paint = _shade(rng, _choice(rng, _PAINTS))
    size: tuple[float, float, float]
    if draw < 0.10:
        size = (rng.uniform(2.0, 2.2), rng.uniform(5.6, 6.6), rng.uniform(2.5, 2.9))
        if not narrow:
            size = (rng.uniform(2.4, 2.6), rng.uniform(7.0, 8.5), rng.uniform(3.1, 3.5))
        return "truck", size, partial(_constant, truck(size, paint, _choice(rng, _PAINTS[:2])))
    if draw < 0.18 and not narrow:
        size = (rng.uniform(2.6, 2.8), rng.uniform(10.5, 12.0), rng.uniform(3.1, 3.4))
        return "bus", size, partial(_constant, bus(size, _choice(rng, (_PAINTS[4], _PAINTS[6], _PAINTS[8]))))
    if draw < 0.28 and not narrow:
        return _two_wheeler(rng, "motorcycle", ridden=True)
    if draw < 0.34 and not narrow:
        return _two_wheeler(rng, "bicycle", ridden=True)
    if draw < 0.41 and not narrow:
        return _trailer(rng)
    size = (rng.uniform(1.70, 2.02), rng.uniform(3.8, 5.1), rng.uniform(1.42, 1.85))
    return "car", size, partial(_constant, car(size, paint))


def _trailer(rng: np.random.Generator) -> _Vehicle:
    size = (rng.uniform(2.1, 2.6), rng.uniform(6.0, 11.0), rng.uniform(2.8, 3.8))
    return "trailer", size, partial(_constant, trailer(size, _choice(rng, _PAINTS[:2])))


def _two_wheeler(rng: np.random.Generator, category: str, *, ridden: bool) -> _Vehicle:
    build, length, height = (
        (bicycle, (1.6, 1.8), (1.65, 1.8)) if category == "bicycle" else (motorcycle, (1.9, 2.2), (1.45, 1.6))
    )
    size = (rng.uniform(0.6, 0.8), rng.uniform(*length), rng.uniform(*height) if ridden else 1.1)
    rider = _clothes(rng) if ridden else None
    return category, size, partial(_constant, build(size, _choice(rng, _PAINTS), rider))


def _person(rng: np.random.Generator) -> tuple[tuple[float, float, float], Callable[[float], Mesh]]:
    size = (rng.uniform(0.58, 0.72), rng.uniform(0.65, 0.85), rng.uniform(1.58, 1.90))
    clothes, phase_m = _clothes(rng), rng.uniform(0.0, 1.5)
    return size, lambda moved_m: pedestrian(size, clothes, moved_m + phase_m)


def _clothes(rng: np.random.Generator) -> Clothes:
    top, trousers = _choice(rng, _CLOTHES), _choice(rng, _CLOTHES[:4])
    return Clothes(skin=_choice(rng, _SKINS), hair=_choice(rng, _HAIRS), top=top, trousers=trousers)


def _choice(rng: np.random.Generator, colors: Sequence[Color]) -> Color:
    return colors[int(rng.integers(len(colors)))]


def _shade(rng: np.random.Generator, color: Color) -> Color:
    """Return a colour near ``color``."""
    blue, green, red = np.clip(np.array(color) * rng.uniform(0.8, 1.15) + rng.uniform(-0.05, 0.05, 3), 0.02, 0.95)
    return float(blue), float(green), float(red)


def _constant(body: Mesh, moved_m: float) -> Mesh:
    return body


def _still(arc_m: float, offset_m: float, turned_rad: float) -> Motion:
    return Motion(np.zeros(1), np.full(1, arc_m), np.full(1, offset_m), turned_rad)


def _extent(ego: EgoDrive, duration_s: float) -> tuple[float, float]:
    """Return the arc lengths between which something may come into view."""
    return ego.arc_at(0.0) - _BEHIND_M, ego.arc_at(duration_s) + _AHEAD_M


def _discs(
    size_wlh_m: tuple[float, float, float], motion: Motion, ego: EgoDrive, times: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Cover a box with discs along its length.

    Returns:
        (times, discs, 2) centres in the world frame, and the discs' radius.
    """
    width, length = sorted(size_wlh_m[:2])
    count = math.ceil(length / width)
    along = (np.arange(count) + 0.5) / count * length - length / 2
    across = math.pi / 2 if size_wlh_m[0] > size_wlh_m[1] else 0.0
    poses = [motion.pose_at(float(time), ego.path) for time in times]
    centers = np.array([pose.xy_m for pose in poses])[:, None, :]
    yaw = np.array([pose.yaw_rad for pose in poses]) + across
    direction = np.stack([np.cos(yaw), np.sin(yaw)], axis=1)[:, None, :]
    return centers + direction * along[None, :, None], width / 2


def _touch(one: tuple[NDArray[np.float64], float], other: tuple[NDArray[np.float64], float]) -> bool:
    """Return whether two actors come nearer than the clearance at any of the moments."""
    (centers, radius), (other_centers, other_radius) = one, other
    gap = centers[:, :, None, :] - other_centers[:, None, :, :]
    return bool(((gap**2).sum(axis=-1) < (radius + other_radius + _CLEARANCE_M) ** 2).any())
