"""Making up a scene: its drive, street, weather, people and houses, all drawn from one seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
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
    Script(  # a turn to the left, then a stop before a crossing
        phases=(Phase(1.0, 7.0, 0.0), Phase(2.2, 6.5, 1 / 15), Phase(4.4, 0.0, 0.0), Phase(2.5, 7.0, 0.0)),
        wide=False,
        built_up=0.85,
        passes_north=True,
    ),
    Script(  # standing, then a turn to the right
        phases=(Phase(1.8, 0.0, 0.0), Phase(1.5, 8.0, 0.0), Phase(2.6, 8.0, -1 / 20), Phase(2.5, 8.0, 0.0)),
        wide=False,
        built_up=0.45,
        passes_north=False,
    ),
    Script(  # a wide street in gentle curves
        phases=(Phase(1.5, 11.0, 0.0), Phase(2.5, 11.0, 1 / 60), Phase(1.5, 11.0, 0.0), Phase(2.5, 11.0, -1 / 60)),
        wide=True,
        built_up=0.7,
        passes_north=True,
    ),
    Script(  # a winding road in the country
        phases=(Phase(1.2, 6.0, 0.0), Phase(2.6, 5.5, -1 / 14), Phase(1.2, 8.0, 0.0), Phase(2.5, 8.0, 1 / 30)),
        wide=False,
        built_up=0.1,
        passes_north=False,
    ),
    Script(  # straight on and fast
        phases=(Phase(20.0, 14.0, 0.0),),
        wide=True,
        built_up=0.15,
        passes_north=False,
    ),
    Script(  # stop and go
        phases=(Phase(1.5, 5.0, 0.0), Phase(2.0, 0.0, 0.0), Phase(2.0, 4.0, 0.0), Phase(2.5, 0.0, 0.0)),
        wide=True,
        built_up=0.9,
        passes_north=False,
    ),
    Script(  # half a roundabout
        phases=(Phase(1.0, 6.0, 0.0), Phase(0.8, 5.5, -1 / 18), Phase(4.5, 5.5, 1 / 13), Phase(1.2, 7.0, -1 / 18)),
        wide=False,
        built_up=0.5,
        passes_north=True,
    ),
    Script(  # waiting all the time
        phases=(Phase(20.0, 0.0, 0.0),),
        wide=False,
        built_up=0.8,
        passes_north=False,
    ),
    Script(  # slowly along a street of houses
        phases=(Phase(3.0, 3.5, 0.0), Phase(2.0, 4.0, 1 / 40), Phase(3.0, 3.0, -1 / 40)),
        wide=False,
        built_up=1.0,
        passes_north=False,
    ),
    Script(  # braking for a crossing from speed
        phases=(Phase(2.0, 12.0, 0.0), Phase(3.5, 0.0, 0.0), Phase(2.5, 9.0, 0.0)),
        wide=True,
        built_up=0.6,
        passes_north=False,
    ),
    Script(  # two sharp turns
        phases=(Phase(0.8, 5.0, 0.0), Phase(2.4, 4.5, -1 / 10), Phase(1.0, 6.0, 0.0), Phase(2.4, 4.5, 1 / 10)),
        wide=False,
        built_up=0.75,
        passes_north=True,
    ),
    Script(  # setting off and out of town
        phases=(Phase(1.0, 0.0, 0.0), Phase(3.0, 8.0, 0.0), Phase(4.0, 13.0, -1 / 90)),
        wide=True,
        built_up=0.3,
        passes_north=False,
    ),
)
"""Scene number k follows script ``k % len(SCRIPTS)``, faster or slower, some of them mirrored."""


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
        _varied(script.phases, rng),
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
        weather=draw_weather(rng),
        actors=populate(rng, ego, profile, crosswalks, duration_s),
        props=line_street(rng, ego, profile, duration_s, built_up=script.built_up),
    )


def _varied(phases: tuple[Phase, ...], rng: np.random.Generator) -> tuple[Phase, ...]:
    """Return the phases at another speed, and mirrored half of the time."""
    speed, side = float(rng.uniform(0.8, 1.2)), 1.0 if rng.uniform() < 0.5 else -1.0
    return tuple(Phase(one.duration_s, one.speed_mps * speed, one.curvature_per_m * side) for one in phases)


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


_TIMES: Final = {"day": 0.58, "rain": 0.14, "dusk": 0.13, "night": 0.15}
"""What a scene looks like, and how often."""


def draw_weather(rng: np.random.Generator) -> Weather:
    """Return the light and air of a scene: day, rain, dusk or night."""
    time_of_day = str(rng.choice(list(_TIMES), p=list(_TIMES.values())))
    cloudiness = float(rng.uniform(0.15, 0.75))
    clear = 1.0 - cloudiness
    day = Weather(
        sun_azimuth_rad=float(rng.uniform(0.0, 2 * math.pi)),
        sun_elevation_rad=math.radians(float(rng.uniform(32.0, 55.0))),
        sun_strength=0.25 + 0.35 * clear,
        ambient=0.84 - 0.12 * clear,
        zenith=(0.62 + 0.18 * clear, 0.52 + 0.02 * clear, 0.46 - 0.14 * clear),
        haze=(0.80, 0.79, 0.77),
        haze_distance_m=float(rng.uniform(220.0, 380.0)),
        cloudiness=cloudiness,
    )
    if time_of_day == "rain":
        return replace(
            day,
            sun_strength=0.05,
            ambient=float(rng.uniform(0.55, 0.75)),
            zenith=(0.52, 0.51, 0.50),
            haze=(0.62, 0.62, 0.61),
            haze_distance_m=float(rng.uniform(90.0, 180.0)),
            cloudiness=1.0,
            noise=1.6,
            rain=float(rng.uniform(0.4, 1.0)),
        )
    if time_of_day == "dusk":
        return replace(
            day,
            sun_elevation_rad=math.radians(float(rng.uniform(8.0, 16.0))),
            sun_strength=0.22 * clear,
            ambient=float(rng.uniform(0.34, 0.52)),
            zenith=(0.42, 0.30, 0.26),
            haze=(0.42, 0.48, 0.62),
            noise=2.0,
            headlights=0.25,
        )
    if time_of_day == "night":
        return replace(
            day,
            sun_strength=0.02,
            ambient=float(rng.uniform(0.20, 0.32)),
            zenith=(0.06, 0.04, 0.03),
            haze=(0.10, 0.09, 0.08),
            noise=3.0,
            headlights=float(rng.uniform(0.45, 0.7)),
        )
    return day
