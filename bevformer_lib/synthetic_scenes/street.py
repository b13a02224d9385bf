"""What stands beside (and sometimes on) the street: cones, barriers, buildings, trees, lamp posts."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

import numpy as np

from bevformer_lib.synthetic_scenes.mesh import (
    Color,
    Mesh,
    Quad,
    box,
    box_faces,
    hexahedron,
    merged,
    mesh,
    patch,
    rectangle,
)

ORANGE: Final = (0.10, 0.36, 0.93)
WHITE: Final = (0.90, 0.90, 0.90)
_STEEL: Final = (0.36, 0.37, 0.37)
_LAMP: Final = (0.75, 0.85, 0.88)
_BARK: Final = (0.16, 0.22, 0.29)
_STOREY_M: Final = 3.3
_BAY_M: Final = 3.2


def traffic_cone(size_wlh_m: tuple[float, float, float]) -> Mesh:
    """Return an orange cone with two white bands on a square foot."""
    width, length, height = size_wlh_m
    foot = box((-length / 2, length / 2), (-width / 2, width / 2), (0.0, 0.06 * height), (0.10, 0.20, 0.55))
    bands = (
        (0.06, 0.38, ORANGE),
        (0.38, 0.55, WHITE),
        (0.55, 0.70, ORANGE),
        (0.70, 0.82, WHITE),
        (0.82, 1.0, ORANGE),
    )
    parts = [foot]
    for low, high, color in bands:
        low_half, high_half = (0.40 * width * (1.05 - at) for at in (low, high))
        body = hexahedron(
            rectangle((-low_half, low_half), (-low_half, low_half), low * height),
            rectangle((-high_half, high_half), (-high_half, high_half), high * height),
        )
        parts.append(mesh((face, color) for face in body.values()))
    return merged(parts)


def barrier(size_wlh_m: tuple[float, float, float]) -> Mesh:
    """Return a road-works barrier across its own x axis: two feet and a board striped white and red."""
    width, length, height = size_wlh_m
    board = box_faces((-0.12 * length, 0.12 * length), (-width / 2, width / 2), (0.45 * height, height))
    stripes = 7
    painted = [
        (patch(board[name], (i / stripes, (i + 1) / stripes), (0.0, 1.0)), (0.15, 0.13, 0.80))
        for name in ("front", "back")
        for i in range(0, stripes, 2)
    ]
    feet = [
        box((-length / 2, length / 2), (y - 0.05, y + 0.05), (0.0, 0.12 * height), _STEEL)
        for y in (-0.38 * width, 0.38 * width)
    ]
    posts = [
        box((-0.04, 0.04), (y - 0.03, y + 0.03), (0.0, 0.5 * height), _STEEL) for y in (-0.38 * width, 0.38 * width)
    ]
    return merged([mesh((face, WHITE) for face in board.values()), mesh(painted, layer=1), *feet, *posts])


def building(size_wlh_m: tuple[float, float, float], wall: Color, glass: Color, shop: Color) -> Mesh:
    """Return a house with rows of windows, a shop floor and a ledge below its roof."""
    width, length, height = size_wlh_m
    faces = box_faces((-length / 2, length / 2), (-width / 2, width / 2), (0.0, height))
    faces.pop("bottom")
    storeys = max(1, int(height / _STOREY_M))
    details: list[tuple[Quad, Color]] = []
    for name, run_m in (("front", width), ("back", width), ("left", length), ("right", length)):
        bays = max(1, int(run_m / _BAY_M))
        details.append((patch(faces[name], (0.0, 1.0), (1 - 0.6 / height, 1.0)), _shaded(wall, 0.72)))
        details.append((patch(faces[name], (0.0, 1.0), (0.0, 0.5 / height)), _shaded(wall, 0.55)))
        details += [
            (patch(faces[name], _middle(bay, bays, 0.78), (0.6 / height, 2.7 / height)), shop) for bay in range(bays)
        ]
        details += [
            (patch(faces[name], _middle(bay, bays, 0.46), _middle(storey, storeys, 0.55)), glass)
            for storey in range(1, storeys)
            for bay in range(bays)
        ]
    return merged([mesh((face, wall) for face in faces.values()), mesh(details, layer=1)])


def tree(height_m: float, crown_m: float, leaves: Color) -> Mesh:
    """Return a tree: a trunk and a crown of three eight-sided tiers, darker below."""
    trunk_m = 0.36 * height_m
    levels = ((0.30, 0.55), (0.50, 1.0), (0.74, 0.88), (0.92, 0.45), (1.0, 0.08))
    parts = [box((-0.14, 0.14), (-0.14, 0.14), (0.0, trunk_m + 0.3), _BARK)]
    rings = [_ring(crown_m / 2 * radius, at * height_m) for at, radius in levels]
    for tier, (low, high) in enumerate(pairwise(rings)):
        sides = [np.array([low[i], low[i - 7], high[i - 7], high[i]]) for i in range(8)]
        tints = [_shaded(leaves, 0.72 + 0.12 * tier + 0.05 * (i % 3)) for i in range(8)]
        parts.append(mesh(zip(sides, tints, strict=True)))
    floor = rings[0][::-1]
    parts.append(mesh((floor[[0, i, i + 1, i + 2]], _shaded(leaves, 0.5)) for i in (1, 3, 5)))
    return merged(parts)


def lamp_post(height_m: float, reach_m: float) -> Mesh:
    """Return a street lamp whose arm points along its x axis."""
    return merged(
        [
            box((-0.08, 0.08), (-0.08, 0.08), (0.0, height_m), _STEEL),
            box((0.0, reach_m), (-0.04, 0.04), (height_m - 0.08, height_m), _STEEL),
            box((reach_m - 0.5, reach_m + 0.2), (-0.13, 0.13), (height_m - 0.12, height_m + 0.02), _LAMP),
        ]
    )


def _middle(cell: int, cells: int, share: float) -> tuple[float, float]:
    """Return the middle ``share`` of one of ``cells`` equal parts of [0, 1]."""
    return (cell + (1 - share) / 2) / cells, (cell + (1 + share) / 2) / cells


def _ring(radius_m: float, z_m: float) -> Quad:
    angles = np.arange(8) * math.pi / 4
    return np.stack([radius_m * np.cos(angles), radius_m * np.sin(angles), np.full(8, z_m)], axis=1)


def _shaded(color: Color, factor: float) -> Color:
    return color[0] * factor, color[1] * factor, color[2] * factor
