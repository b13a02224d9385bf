"""Cars, trucks, buses, trailers and diggers: each fills its box and shows where its front is."""

from __future__ import annotations

from typing import Final

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
    wheel,
)

GLASS: Final = (0.22, 0.18, 0.15)
TYRE: Final = (0.07, 0.07, 0.07)
HUB: Final = (0.55, 0.55, 0.54)
TRIM: Final = (0.13, 0.13, 0.13)
HEADLIGHT: Final = (0.92, 0.96, 0.98)
TAIL_LIGHT: Final = (0.12, 0.10, 0.78)
PLATE: Final = (0.80, 0.85, 0.86)
_WHEEL_INSET_M: Final = 0.015


def car(size_wlh_m: tuple[float, float, float], paint: Color) -> Mesh:
    """Return a saloon car: body, sloped cabin with windows, four wheels, lights at both ends."""
    width, length, height = size_wlh_m
    half_w, half_l = width / 2, length / 2
    belt, sill = 0.56 * height, 0.16 * height
    side = half_w - _WHEEL_INSET_M
    body = hexahedron(
        rectangle((-half_l, half_l), (-side, side), sill),
        rectangle((-half_l + 0.05, half_l - 0.12), (-side + 0.05, side - 0.05), belt),
    )
    cabin = hexahedron(
        rectangle((-0.44 * length, 0.21 * length), (-side + 0.05, side - 0.05), belt),
        rectangle((-0.31 * length, 0.03 * length), (-side + 0.22, side - 0.22), height),
    )
    cabin.pop("bottom")
    windows: list[tuple[Quad, Color]] = [
        (patch(cabin["front"], (0.06, 0.94), (0.08, 0.92)), GLASS),
        (patch(cabin["back"], (0.08, 0.92), (0.15, 0.90)), GLASS),
    ]
    for name in ("left", "right"):
        windows += [(patch(cabin[name], span, (0.1, 0.88)), GLASS) for span in ((0.09, 0.47), (0.52, 0.91))]
    return merged(
        [
            box((-half_l + 0.1, half_l - 0.1), (-side + 0.12, side - 0.12), (0.1 * height, sill), TRIM),
            mesh((face, paint) for face in body.values()),
            mesh((face, paint) for face in cabin.values()),
            mesh(windows, layer=1),
            _ends(body, light_v=(0.62, 0.88), light_u=0.24),
            _wheels((-0.30 * length, 0.31 * length), half_w, 0.215 * height),
        ]
    )


def truck(size_wlh_m: tuple[float, float, float], paint: Color, cargo: Color) -> Mesh:
    """Return a box truck: cab in front, cargo box behind."""
    width, length, height = size_wlh_m
    half_w, half_l = width / 2, length / 2
    cab_back, floor = half_l - min(0.30 * length, 2.2), 0.27 * height
    side = half_w - _WHEEL_INSET_M
    cab = hexahedron(
        rectangle((cab_back, half_l), (-side, side), 0.14 * height),
        rectangle((cab_back, half_l - 0.25), (-side + 0.06, side - 0.06), 0.80 * height),
    )
    load = box_faces((-half_l, cab_back - 0.12), (-side, side), (floor, height))
    windows = [(patch(cab["front"], (0.07, 0.93), (0.50, 0.88)), GLASS)]
    windows += [(patch(cab[name], (0.25, 0.85), (0.50, 0.86)), GLASS) for name in ("left", "right")]
    seam = tuple(0.8 * channel for channel in cargo)
    seams = [
        (patch(load[name], (u, u + 0.012), (0.0, 1.0)), (seam[0], seam[1], seam[2]))
        for name in ("left", "right")
        for u in (0.24, 0.49, 0.74)
    ]
    doors = [(patch(load["back"], (0.49, 0.51), (0.0, 1.0)), TRIM)]
    doors += [(patch(load["back"], span, (0.02, 0.08)), TAIL_LIGHT) for span in ((0.02, 0.14), (0.86, 0.98))]
    return merged(
        [
            box((-half_l + 0.1, cab_back), (-0.42 * width, 0.42 * width), (0.14 * height, floor), TRIM),
            mesh((face, paint) for face in cab.values()),
            mesh((face, cargo) for face in load.values()),
            mesh([*windows, *seams, *doors], layer=1),
            _front_lights(cab["front"], (0.10, 0.22)),
            _wheels((-0.32 * length, half_l - 1.0), half_w, 0.15 * height),
        ]
    )


def bus(size_wlh_m: tuple[float, float, float], paint: Color) -> Mesh:
    """Return a city bus: one long body with a band of windows and doors on its right."""
    width, length, height = size_wlh_m
    half_w, half_l = width / 2, length / 2
    side = half_w - _WHEEL_INSET_M
    body = box_faces((-half_l, half_l), (-side, side), (0.11 * height, height))
    panes = max(4, round(length / 1.6))
    details: list[tuple[Quad, Color]] = [
        (patch(body["front"], (0.05, 0.95), (0.38, 0.84)), GLASS),
        (patch(body["front"], (0.15, 0.85), (0.87, 0.97)), (0.15, 0.65, 0.85)),
        (patch(body["back"], (0.12, 0.88), (0.52, 0.85)), GLASS),
    ]
    for name in ("left", "right"):
        step = 0.96 / panes
        details += [
            (patch(body[name], (0.02 + i * step, 0.02 + (i + 0.92) * step), (0.45, 0.82)), GLASS) for i in range(panes)
        ]
        details.append((patch(body[name], (0.0, 1.0), (0.0, 0.10)), TRIM))
    details += [(patch(body["right"], span, (0.04, 0.82)), GLASS) for span in ((0.88, 0.97), (0.46, 0.56))]
    return merged(
        [
            mesh((face, paint) for face in body.values()),
            mesh(details, layer=1),
            _ends(body, light_v=(0.10, 0.19), light_u=0.16),
            _wheels((-0.30 * length, 0.29 * length), half_w, 0.16 * height),
        ]
    )


def trailer(size_wlh_m: tuple[float, float, float], paint: Color) -> Mesh:
    """Return a long closed trailer on two rear axles."""
    width, length, height = size_wlh_m
    half_w, half_l = width / 2, length / 2
    side = half_w - _WHEEL_INSET_M
    load = box_faces((-half_l, half_l), (-side, side), (0.30 * height, height))
    stripes = [(patch(load[name], (0.0, 1.0), (0.0, 0.05)), TAIL_LIGHT) for name in ("left", "right", "back")]
    legs = 0.22 * length
    return merged(
        [
            mesh((face, paint) for face in load.values()),
            mesh(stripes, layer=1),
            box((-half_l + 0.2, half_l - 2.0), (-0.3 * width, 0.3 * width), (0.16 * height, 0.30 * height), TRIM),
            box((legs, legs + 0.15), (-0.35 * width, 0.35 * width), (0.0, 0.3 * height), TRIM),
            _wheels((-0.38 * length, -0.27 * length), half_w, 0.13 * height),
        ]
    )


def construction_vehicle(size_wlh_m: tuple[float, float, float], paint: Color) -> Mesh:
    """Return a wheeled loader: engine behind, cabin in the middle, arm and bucket in front."""
    width, length, height = size_wlh_m
    half_w, half_l = width / 2, length / 2
    side = 0.40 * width
    cabin = hexahedron(
        rectangle((-0.16 * length, 0.12 * length), (-0.30 * width, 0.30 * width), 0.45 * height),
        rectangle((-0.14 * length, 0.08 * length), (-0.27 * width, 0.27 * width), height),
    )
    glass = [(patch(cabin[name], (0.1, 0.9), (0.2, 0.88)), GLASS) for name in ("front", "back", "left", "right")]
    arm = hexahedron(
        rectangle((0.10 * length, 0.42 * length), (-0.12 * width, 0.12 * width), 0.28 * height),
        rectangle((0.10 * length, 0.40 * length), (-0.10 * width, 0.10 * width), 0.46 * height),
    )
    bucket = hexahedron(
        rectangle((half_l - 0.16 * length, half_l), (-half_w, half_w), 0.04 * height),
        rectangle((half_l - 0.16 * length, half_l - 0.10 * length), (-half_w, half_w), 0.36 * height),
    )
    return merged(
        [
            box((-half_l, 0.14 * length), (-side, side), (0.20 * height, 0.52 * height), paint),
            mesh((face, paint) for face in cabin.values()),
            mesh(glass, layer=1),
            mesh((face, paint) for face in arm.values()),
            mesh((face, (0.30, 0.32, 0.33)) for face in bucket.values()),
            _wheels((-0.30 * length, 0.16 * length), half_w, 0.21 * height),
        ]
    )


def _ends(body: dict[str, Quad], *, light_v: tuple[float, float], light_u: float) -> Mesh:
    """Return head lights, tail lights, bumpers and number plates on a body's front and back."""
    back_lights = [
        (patch(body["back"], span, light_v), TAIL_LIGHT) for span in ((0.03, 0.03 + light_u), (0.97 - light_u, 0.97))
    ]
    bumpers = [(patch(body[name], (0.0, 1.0), (0.0, 0.14)), TRIM) for name in ("front", "back")]
    plates = [(patch(body[name], (0.38, 0.62), (0.26, 0.42)), PLATE) for name in ("front", "back")]
    return merged([mesh([*back_lights, *bumpers, *plates], layer=1), _front_lights(body["front"], light_v)])


def _front_lights(front: Quad, light_v: tuple[float, float]) -> Mesh:
    spans = ((0.04, 0.24), (0.76, 0.96))
    return mesh([(patch(front, span, light_v), HEADLIGHT) for span in spans], layer=1)


def _wheels(axles_x_m: tuple[float, float], half_w_m: float, radius_m: float) -> Mesh:
    return merged([wheel(x, y, radius_m, hub=HUB, tyre=TYRE) for x in axles_x_m for y in (-half_w_m, half_w_m)])
