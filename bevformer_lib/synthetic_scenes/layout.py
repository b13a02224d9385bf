"""Making up a scene: its drive, street, weather, people and houses, all drawn from one seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from bevformer_lib.synthetic_scenes.drive import EgoDrive, Phase, drive
from bevformer_lib.synthetic_scenes.ground import Ground, StreetProfile
from bevformer_lib.synthetic_scenes.sky import Weather
from bevformer_lib.synthetic_scenes.surroundings import line_street
from bevformer_lib.synthetic_scenes.traffic import LANE_M, PARKING_M, populate
from bevformer_lib.synthetic_scenes.world import World

_STANDING_MPS: Final = 0.1
_STOP_TO_CROSSWALK_M: Final = 8.0


@dataclass(frozen=True)
class Script:
    """A kind of scene.

    Attributes:
        phases: what the ego car does.
        wide: two lanes for each direction instead of one.
        built_up: share of the frontage that houses take.
        passes_north: the heading passes 360 -> 0 degrees (or back) during the drive.
    """

    phases: tuple[Phase, ...]
    wide: bool
    built_up: float
    passes_north: bool


SCRIPTS: Final = (
    Script(
        phases=(Phase(1.0, 7.0, 0.0), Phase(2.2, 6.5, 1 / 15), Phase(4.4, 0.0, 0.0), Phase(2.5, 7.0, 0.0)),
        wide=False,
        built_up=0.85,
        passes_north=True,
    ),
    Script(
        phases=(Phase(1.8, 0.0, 0.0), Phase(1.5, 8.0, 0.0), Phase(2.6, 8.0, -1 / 20), Phase(2.5, 8.0, 0.0)),
        wide=False,
        built_up=0.45,
        passes_north=False,
    ),
    Script(
        phases=(Phase(1.5, 11.0, 0.0), Phase(2.5, 11.0, 1 / 60), Phase(1.5, 11.0, 0.0), Phase(2.5, 11.0, -1 / 60)),
        wide=True,
        built_up=0.7,
        passes_north=True,
    ),
    Script(
        phases=(Phase(1.2, 6.0, 0.0), Phase(2.6, 5.5, -1 / 14), Phase(1.2, 8.0, 0.0), Phase(2.5, 8.0, 1 / 30)),
        wide=False,
        built_up=0.1,
        passes_north=False,
    ),
)
"""Scene number k follows script ``k % len(SCRIPTS)``."""


def make_world(name: str, *, scene_number: int, duration_s: float, seed: int) -> World:
    """Make up a scene; it depends on nothing but the arguments, so not on how many other scenes are made.

    Args:
        name: name of the scene.
        scene_number: 0, 1, ...
        duration_s: time of the last frame; the first is at 0.
        seed: seed of the whole set of scenes.
    """
    rng = np.random.default_rng([seed, scene_number])
    script = SCRIPTS[scene_number % len(SCRIPTS)]
    ego = drive(
        script.phases,
        duration_s,
        north_between=script.passes_north,
        start_yaw_rad=float(rng.uniform(0.0, 2 * math.pi)),
    )
    profile = _profile(script)
    crosswalks = _crosswalks_m(ego, duration_s)
    world_seed = int(rng.integers(2**31))
    return World(
        name=name,
        seed=world_seed,
        ego=ego,
        ground=Ground(ego.path, profile, crosswalks, world_seed),
        weather=_weather(rng),
        actors=populate(rng, ego, profile, crosswalks, duration_s),
        props=line_street(rng, ego, profile, duration_s, built_up=script.built_up),
    )


def _profile(script: Script) -> StreetProfile:
    ours, theirs = (2, 2) if script.wide else (1, 1)
    half = LANE_M / 2
    middle = half + (ours - 1) * LANE_M
    left_of_lanes = middle + theirs * LANE_M
    lane_lines = (half, middle + LANE_M) if script.wide else ()
    left_edge = left_of_lanes + (0.5 if script.wide else PARKING_M)
    return StreetProfile(
        right_edge_m=-half - PARKING_M,
        left_edge_m=left_edge,
        lane_lines_m=lane_lines,
        middle_line_m=middle,
        parking_lines_m=(-half,) if script.wide else (-half, left_of_lanes),
        pavement_m=3.6,
    )


def _crosswalks_m(ego: EgoDrive, duration_s: float) -> tuple[float, ...]:
    """Return the arc lengths of a zebra crossing before each place where the car stands."""
    standing = (ego.speed_mps < _STANDING_MPS) & (np.abs(ego.time_s - duration_s / 2) <= duration_s / 2 + 2.0)
    places = sorted({round(float(arc), 0) for arc in ego.arc_m[standing]})
    apart = [place for i, place in enumerate(places) if i == 0 or place - places[i - 1] > _STOP_TO_CROSSWALK_M]
    return tuple(place + _STOP_TO_CROSSWALK_M for place in apart)


def _weather(rng: np.random.Generator) -> Weather:
    cloudiness = float(rng.uniform(0.15, 0.75))
    clear = 1.0 - cloudiness
    return Weather(
        sun_azimuth_rad=float(rng.uniform(0.0, 2 * math.pi)),
        sun_elevation_rad=math.radians(float(rng.uniform(32.0, 55.0))),
        sun_strength=0.25 + 0.35 * clear,
        ambient=0.84 - 0.12 * clear,
        zenith=(0.62 + 0.18 * clear, 0.52 + 0.02 * clear, 0.46 - 0.14 * clear),
        haze=(0.80, 0.79, 0.77),
        haze_distance_m=float(rng.uniform(220.0, 380.0)),
        cloudiness=cloudiness,
    )
