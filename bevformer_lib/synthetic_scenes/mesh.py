"""Bodies made of flat coloured quads, and the few shapes that everything in a synthetic scene is put together from.

Object frame: x along the length, y left, z up, origin at the bottom centre. Corners of a quad run
counter-clockwise as seen from outside. Colours are BGR in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Color: TypeAlias = tuple[float, float, float]
Quad: TypeAlias = NDArray[np.float64]
"""(4, 3) corners, m."""


@dataclass(frozen=True)
class Mesh:
    """Quads that are drawn together.

    Attributes:
        quads_m: (n, 4, 3) float64 corners; a triangle repeats one.
        colors: (n, 3) float64 BGR.
        layer: (n,) int64; 0 for a body, 1 for what is painted onto it (a window), 2 for paint on paint.
    """

    quads_m: NDArray[np.float64]
    colors: NDArray[np.float64]
    layer: NDArray[np.int64]


def mesh(faces: Iterable[tuple[Quad, Color]], *, layer: int = 0) -> Mesh:
    """Return a mesh of (corners, colour) pairs."""
    pairs = list(faces)
    return Mesh(
        quads_m=np.array([quad for quad, _ in pairs]).reshape(-1, 4, 3),
        colors=np.array([color for _, color in pairs]).reshape(-1, 3),
        layer=np.full(len(pairs), layer),
    )


def merged(meshes: Sequence[Mesh]) -> Mesh:
    """Return all quads of several meshes as one."""
    if not meshes:
        return mesh([])
    return Mesh(
        quads_m=np.concatenate([part.quads_m for part in meshes]),
        colors=np.concatenate([part.colors for part in meshes]),
        layer=np.concatenate([part.layer for part in meshes]),
    )


def placed(body: Mesh, xy_m: tuple[float, float], yaw_rad: float, z_m: float = 0.0) -> Mesh:
    """Return the mesh turned by ``yaw_rad`` about z and moved to (x, y, z)."""
    cos, sin = math.cos(yaw_rad), math.sin(yaw_rad)
    rotation = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return Mesh(body.quads_m @ rotation.T + np.array([*xy_m, z_m]), body.colors, body.layer)


def rectangle(x: tuple[float, float], y: tuple[float, float], z_m: float) -> NDArray[np.float64]:
    """Return the (4, 3) corners of a level rectangle, counter-clockwise from above."""
    return np.array([[x[0], y[0], z_m], [x[1], y[0], z_m], [x[1], y[1], z_m], [x[0], y[1], z_m]], dtype=np.float64)


def hexahedron(bottom: Quad, top: Quad) -> dict[str, Quad]:
    """Return the six faces between two level rectangles by name: front, back, left, right, top, bottom."""
    return {
        "right": np.array([bottom[0], bottom[1], top[1], top[0]]),
        "front": np.array([bottom[1], bottom[2], top[2], top[1]]),
        "left": np.array([bottom[2], bottom[3], top[3], top[2]]),
        "back": np.array([bottom[3], bottom[0], top[0], top[3]]),
        "top": top,
        "bottom": bottom[::-1],
    }


def box_faces(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> dict[str, Quad]:
    """Return the six faces of an upright box."""
    return hexahedron(rectangle(x, y, z[0]), rectangle(x, y, z[1]))


def box(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], color: Color) -> Mesh:
    """Return an upright box of one colour."""
    return mesh((face, color) for face in box_faces(x, y, z).values())


def patch(face: Quad, u: tuple[float, float], v: tuple[float, float]) -> Quad:
    """Return the part of a quad between fractions ``u`` along its bottom edge and ``v`` up its sides."""

    def at(u_fraction: float, v_fraction: float) -> NDArray[np.float64]:
        low = face[0] + (face[1] - face[0]) * u_fraction
        high = face[3] + (face[2] - face[3]) * u_fraction
        return low + (high - low) * v_fraction  # type: ignore[no-any-return]

    return np.array([at(u[0], v[0]), at(u[1], v[0]), at(u[1], v[1]), at(u[0], v[1])])


def wheel(x_m: float, y_m: float, radius_m: float, *, hub: Color, tyre: Color) -> Mesh:
    """Return an upright octagonal wheel that stands on the ground in the plane y = ``y_m``, painted on both sides."""

    def disc(radius: float, color: Color) -> list[tuple[Quad, Color]]:
        angles = math.pi / 8 + np.arange(8) * math.pi / 4
        rim = np.stack([x_m + radius * np.cos(angles), np.full(8, y_m), radius_m + radius * np.sin(angles)], axis=1)
        quads = [rim[[0, 1, 2, 3]], rim[[0, 3, 4, 7]], rim[[4, 5, 6, 7]]]
        return [(quad, color) for quad in quads] + [(quad[::-1], color) for quad in quads]

    return merged([mesh(disc(radius_m, tyre), layer=1), mesh(disc(radius_m * 0.58, hub), layer=2)])
