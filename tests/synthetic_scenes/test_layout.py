"""The world is as varied as a model needs it to be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from bevformer_lib.config.camera_capacity import PillarGrid
from bevformer_lib.config.load import load_model_config
from bevformer_lib.geometry.pillars import cameras_per_query, pillar_points_lidar_m
from bevformer_lib.metrics.constants import CLASS_NAMES
from bevformer_lib.synthetic_scenes.layout import draw_weather, make_world
from bevformer_lib.synthetic_scenes.make import scene_cameras, scene_name
from bevformer_lib.synthetic_scenes.sky import Weather


def kind_of(weather: Weather) -> str:
    if weather.rain:
        return "rain"
    if not weather.headlights:
        return "day"
    return "dusk" if weather.ambient > 0.33 else "night"


def test_rain_dusk_and_night_occur_as_often_as_a_seventh_of_the_time() -> None:
    rng = np.random.default_rng(0)
    weathers = [draw_weather(rng) for _ in range(500)]
    kinds = Counter(map(kind_of, weathers))
    light = {kind: np.mean([one.ambient for one in weathers if kind_of(one) == kind]) for kind in kinds}

    assert {kind: round(count / 500, 1) for kind, count in kinds.items()} == {
        "day": 0.6,
        "rain": 0.1,
        "dusk": 0.1,
        "night": pytest.approx(0.15, abs=0.051),
    }
    assert light["day"] > light["rain"] > light["dusk"] > light["night"]
    assert all(one.haze_distance_m < 200 for one in weathers if one.rain)


def test_no_car_has_more_than_two_cameras_on_a_cell_or_the_cameras_of_another() -> None:
    """The demo model samples at most two cameras per cell; scenes that need more would show it less than is there."""
    grid = PillarGrid.of(load_model_config("demo"))
    points = pillar_points_lidar_m(grid)
    seen = []
    for number in range(40):
        cameras = scene_cameras(6, 0.28, number=number, seed=11)
        seen.append(np.stack([camera.lidar_to_image for camera in cameras]))
        counts = cameras_per_query(grid, seen[-1], points=points)
        assert counts.max() == 2
        assert 0.05 < np.mean(counts == 2) < 0.25
        assert np.mean(counts == 0) < 0.01
    assert np.ptp(np.stack(seen)[:, 0, :3, :3], axis=0).max() > 10.0


def test_twelve_scenes_turn_stand_and_hurry_and_half_of_them_hold_any_class() -> None:
    worlds = [make_world(scene_name(number), scene_number=number, duration_s=4.0, seed=5) for number in range(12)]
    sharpest = [np.abs(world.ego.curvature_per_m).max() for world in worlds]
    fastest = [world.ego.speed_mps.max() for world in worlds]

    assert min(sharpest) == 0.0 and max(sharpest) > 0.08
    assert min(fastest) < 0.1 and max(fastest) > 12.0
    present = Counter(category for world in worlds for category in {actor.category for actor in world.actors})
    assert min(present[name] for name in CLASS_NAMES) >= 6, present
