"""People on foot and on two wheels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from bevformer_lib.synthetic_scenes.mesh import Color, Mesh, hexahedron, merged, mesh, rectangle, wheel
from bevformer_lib.synthetic_scenes.vehicles import HEADLIGHT, HUB, TAIL_LIGHT, TRIM, TYRE

STRIDE_M: Final = 1.5
"""Way walked in a cycle of both legs."""
_SHOE: Final = (0.08, 0.08, 0.10)


@dataclass(frozen=True)
class Clothes:
    """Colours of a person."""

    skin: Color
    hair: Color
    top: Color
    trousers: Color


def pedestrian(size_wlh_m: tuple[float, float, float], clothes: Clothes, walked_m: float) -> Mesh:
    """Return a person in mid-stride.

    Args:
        size_wlh_m: the person's box; arms and legs at full swing just fill its length.
        clothes: colours.
        walked_m: way walked so far, which sets the phase of the stride; keep it constant for a standing person.
    """
    width, length, height = size_wlh_m
    swing = 0.36 * length * math.sin(2 * math.pi * walked_m / STRIDE_M)
    hip, neck = 0.48 * height, 0.84 * height
    parts = []
    for side in (-1.0, 1.0):
        foot_x, hand_x = side * swing, -side * swing
        y = side * 0.16 * width
        parts += [
            _limb((foot_x, y), (0.0, y), (0.03 * height, hip), 0.17, clothes.trousers),
            _limb((foot_x + 0.04, y), (foot_x + 0.02, y), (0.0, 0.05 * height), 0.2, _SHOE),
            _limb((hand_x, side * 0.42 * width), (0.0, side * 0.36 * width), (0.45 * height, neck), 0.11, clothes.top),
        ]
    torso = hexahedron(
        rectangle((-0.12, 0.12), (-0.26 * width, 0.26 * width), hip * 0.96),
        rectangle((-0.13, 0.13), (-0.33 * width, 0.33 * width), neck),
    )
    parts += [
        mesh((face, clothes.top) for face in torso.values()),
        _limb((0.0, 0.0), (0.0, 0.0), (neck, 0.95 * height), 0.19, clothes.skin),
        _limb((-0.01, 0.0), (-0.02, 0.0), (0.94 * height, height), 0.21, clothes.hair),
    ]
    return merged(parts)


def bicycle(size_wlh_m: tuple[float, float, float], paint: Color, rider: Clothes | None) -> Mesh:
    """Return a bicycle, ridden or parked."""
    _, length, height = size_wlh_m
    radius = 0.20 * length
    axles = (-length / 2 + radius, length / 2 - radius)
    saddle_z = min(0.58 * height, 1.0) if rider else 0.86 * height
    parts = [wheel(x, 0.0, radius, hub=(0.45, 0.45, 0.45), tyre=TYRE) for x in axles]
    parts += [
        _limb((axles[0], 0.0), (0.1, 0.0), (radius, radius + 0.06), 0.06, paint),
        _limb((0.0, 0.0), (-0.15, 0.0), (radius * 0.8, saddle_z), 0.06, paint),
        _limb((axles[1], 0.0), (axles[1] - 0.14, 0.0), (radius, saddle_z + 0.08), 0.06, paint),
        _limb((axles[0], 0.0), (axles[1] - 0.1, 0.0), (saddle_z - 0.16, saddle_z - 0.10), 0.06, paint),
    ]
    if rider:
        parts.append(_rider(size_wlh_m, saddle_z, rider))
    return merged(parts)


def motorcycle(size_wlh_m: tuple[float, float, float], paint: Color, rider: Clothes | None) -> Mesh:
    """Return a motorcycle, ridden or parked."""
    width, length, height = size_wlh_m
    radius = 0.155 * length
    axles = (-length / 2 + radius, length / 2 - radius)
    seat_z = min(0.56 * height, 0.85) if rider else 0.75 * height
    engine = hexahedron(
        rectangle((-0.22 * length, 0.2 * length), (-0.16, 0.16), radius * 0.7),
        rectangle((-0.36 * length, 0.22 * length), (-0.14, 0.14), seat_z),
    )
    parts = [wheel(x, 0.02 * side, radius, hub=HUB, tyre=TYRE) for x in axles for side in (-1, 1)]
    parts += [
        mesh((face, paint) for face in engine.values()),
        _limb((axles[1], 0.0), (axles[1] - 0.3, 0.0), (radius, seat_z + 0.2), 0.12, TRIM),
        _limb((axles[1] - 0.28, 0.0), (axles[1] - 0.28, 0.0), (seat_z + 0.02, seat_z + 0.16), 0.2, HEADLIGHT),
        _limb((-0.38 * length, 0.0), (-0.38 * length, 0.0), (seat_z - 0.1, seat_z + 0.02), 0.18, TAIL_LIGHT),
        _bar(axles[1] - 0.32, 0.45 * width, seat_z + 0.2),
    ]
    if rider:
        parts.append(_rider(size_wlh_m, seat_z, rider))
    return merged(parts)


def _rider(size_wlh_m: tuple[float, float, float], seat_z_m: float, clothes: Clothes) -> Mesh:
    width, length, height = size_wlh_m
    neck = height - 0.28
    parts = [
        _limb((-0.14 * length, 0.0), (-0.02 * length, 0.0), (seat_z_m, neck), 0.36, clothes.top),
        _limb((0.0, 0.0), (0.0, 0.0), (neck, height - 0.08), 0.2, clothes.skin),
        _limb((-0.01, 0.0), (-0.02, 0.0), (height - 0.14, height), 0.25, clothes.hair),
    ]
    for side in (-1.0, 1.0):
        y = side * min(0.17, 0.4 * width)
        parts += [
            _limb((0.05 * length, y), (-0.05 * length, y), (0.25, seat_z_m + 0.12), 0.16, clothes.trousers),
            _limb((0.2 * length, y * 1.3), (0.0, y * 1.2), (seat_z_m + 0.2, neck), 0.1, clothes.top),
        ]
    return merged(parts)


def _bar(x_m: float, half_width_m: float, z_m: float) -> Mesh:
    bar = hexahedron(
        rectangle((x_m - 0.03, x_m + 0.03), (-half_width_m, half_width_m), z_m - 0.03),
        rectangle((x_m - 0.03, x_m + 0.03), (-half_width_m, half_width_m), z_m + 0.03),
    )
    return mesh((face, TRIM) for face in bar.values())


def _limb(
    low_xy_m: tuple[float, float],
    high_xy_m: tuple[float, float],
    z_m: tuple[float, float],
    thickness_m: float,
    color: Color,
) -> Mesh:
    """Return a square rod between two heights, leaning from one (x, y) to another."""
    half = thickness_m / 2
    (low_x, low_y), (high_x, high_y) = low_xy_m, high_xy_m
    low = rectangle((low_x - half, low_x + half), (low_y - half, low_y + half), z_m[0])
    high = rectangle((high_x - half, high_x + half), (high_y - half, high_y + half), z_m[1])
    return mesh((np.asarray(face), color) for face in hexahedron(low, high).values())
