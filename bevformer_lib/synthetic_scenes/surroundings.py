"""What lines the street: houses behind the pavements, trees and lamp posts along the kerbs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.synthetic_scenes.drive import EgoDrive
from bevformer_lib.synthetic_scenes.ground import StreetProfile
from bevformer_lib.synthetic_scenes.mesh import Color, placed
from bevformer_lib.synthetic_scenes.path import Path
from bevformer_lib.synthetic_scenes.street import building, lamp_post, tree
from bevformer_lib.synthetic_scenes.world import Prop, footprint_of

_BEHIND_M: Final = 90.0
_AHEAD_M: Final = 130.0
_WALLS: Final[tuple[Color, ...]] = (
    (0.26, 0.30, 0.46),
    (0.52, 0.58, 0.62),
    (0.40, 0.50, 0.60),
    (0.34, 0.36, 0.38),
    (0.60, 0.66, 0.70),
    (0.30, 0.38, 0.52),
)
_WINDOWS: Final[tuple[Color, ...]] = ((0.24, 0.20, 0.17), (0.38, 0.33, 0.28), (0.46, 0.42, 0.36))
_SHOPS: Final[tuple[Color, ...]] = ((0.22, 0.22, 0.22), (0.40, 0.52, 0.58), (0.30, 0.24, 0.20))
_LEAVES: Final[tuple[Color, ...]] = ((0.16, 0.42, 0.26), (0.14, 0.36, 0.30), (0.18, 0.46, 0.38))


def line_street(
    rng: np.random.Generator, ego: EgoDrive, profile: StreetProfile, duration_s: float, *, built_up: float
) -> tuple[Prop, ...]:
    """Return houses, trees and lamp posts.

    Args:
        rng: source of everything drawn.
        ego: the drive, whose path is the street.
        profile: the street's cross-section.
        duration_s: time of the last frame.
        built_up: share of the frontage that houses take, 0 to 1; trees take the rest.
    """
    first, last = ego.arc_at(0.0) - _BEHIND_M, ego.arc_at(duration_s) + _AHEAD_M
    sides = ((profile.right_edge_m, -1.0), (profile.left_edge_m, 1.0))
    props: list[Prop] = []
    footprints: list[NDArray[np.float64]] = []
    for edge, outwards in sides:
        front = edge + outwards * (profile.pavement_m + 0.4)
        for prop in _frontage(rng, ego.path, profile, (first, last), front, outwards, built_up):
            if not any(_overlap(prop.footprint_m, other) for other in footprints):
                footprints.append(prop.footprint_m)
                props.append(prop)
        props += _kerbside(rng, ego.path, profile, (first, last), edge + outwards * 0.8, outwards)
    return tuple(props)


def _frontage(
    rng: np.random.Generator,
    path: Path,
    profile: StreetProfile,
    extent_m: tuple[float, float],
    front_m: float,
    outwards: float,
    built_up: float,
) -> Iterator[Prop]:
    """Yield houses and trees behind a pavement that don't stand on any part of the street."""
    arc = extent_m[0]
    while arc < extent_m[1]:
        if rng.uniform() < built_up:
            size = (rng.uniform(9.0, 13.0), rng.uniform(10.0, 20.0), 3.3 * int(rng.integers(2, 6)) + 1.2)
            offset = front_m + outwards * (size[0] / 2 + rng.choice([0.0, 0.0, 2.5]))
            at, yaw = path.point_at(arc + size[1] / 2, offset), path.yaw_at(arc + size[1] / 2)
            body = building(size, _choice(rng, _WALLS), _choice(rng, _WINDOWS), _choice(rng, _SHOPS))
            arc += size[1] + (0.3 if rng.uniform() < 0.6 else rng.uniform(2.0, 7.0))
        else:
            height = rng.uniform(5.0, 9.5)
            size = (0.62 * height, 0.62 * height, height)
            offset = front_m + outwards * rng.uniform(3.0, 8.0)
            at, yaw = path.point_at(arc + 3.0, offset), rng.uniform(0.0, math.pi)
            body = tree(height, size[0], _choice(rng, _LEAVES))
            arc += rng.uniform(5.0, 10.0)
        footprint = footprint_of(size, at, yaw)
        if _clear_of_street(footprint, path, profile):
            yield Prop(at, footprint, float(size[2]), placed(body, at, yaw))


def _kerbside(
    rng: np.random.Generator,
    path: Path,
    profile: StreetProfile,
    extent_m: tuple[float, float],
    offset_m: float,
    outwards: float,
) -> Iterator[Prop]:
    """Yield lamp posts and small trees between kerb and walkers."""
    arc, count = extent_m[0], 0
    while arc < extent_m[1]:
        at, yaw = path.point_at(arc, offset_m), path.yaw_at(arc) - outwards * math.pi / 2
        if count % 3 == 0:
            yield Prop(at, footprint_of((0.16, 0.16, 7.0), at, yaw), 7.0, placed(lamp_post(7.0, 1.8), at, yaw))
        elif rng.uniform() < 0.75:
            height = rng.uniform(4.2, 5.6)
            body = tree(height, 0.5 * height, _choice(rng, _LEAVES))
            footprint = footprint_of((0.4 * height, 0.4 * height, height), at, yaw)
            yield Prop(at, footprint, height, placed(body, at, yaw))
        arc, count = arc + rng.uniform(8.0, 12.0), count + 1


def _inner_points(footprint_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (25, 2) points spread over a footprint, its corners included."""
    u, v = np.meshgrid(np.linspace(0.0, 1.0, 5), np.linspace(0.0, 1.0, 5))
    low, right, _, up = footprint_m
    return np.asarray(low + u.reshape(-1, 1) * (right - low) + v.reshape(-1, 1) * (up - low))


def _clear_of_street(footprint_m: NDArray[np.float64], path: Path, profile: StreetProfile) -> bool:
    _, offset = path.coordinates_of(_inner_points(footprint_m))
    margin = profile.pavement_m + 0.2
    return not bool(((offset > profile.right_edge_m - margin) & (offset < profile.left_edge_m + margin)).any())


def _overlap(one_m: NDArray[np.float64], other_m: NDArray[np.float64]) -> bool:
    """Return whether two footprints share any of their spread points."""
    return any(
        bool(_inside(points, footprint).any())
        for points, footprint in ((_inner_points(one_m), other_m), (_inner_points(other_m), one_m))
    )


def _inside(points_m: NDArray[np.float64], footprint_m: NDArray[np.float64]) -> NDArray[np.bool_]:
    edges = np.roll(footprint_m, -1, axis=0) - footprint_m
    offsets = points_m[:, None, :] - footprint_m[None, :, :]
    to_the_left = edges[:, 0] * offsets[:, :, 1] - edges[:, 1] * offsets[:, :, 0] > 0.0
    return np.asarray(to_the_left.all(axis=1))


def _choice(rng: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    return colors[int(rng.integers(len(colors)))]
