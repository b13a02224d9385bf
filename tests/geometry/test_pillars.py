from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from bevformer_lib.config.camera_capacity import PillarGrid
from bevformer_lib.config.presets import PRESETS
from bevformer_lib.geometry.pillars import cameras_per_query, needed_cameras_per_query, pillar_points_lidar_m
from bevformer_lib.model.projection import PillarProjection
from tests.support.data import requires_shared_data, shared_data
from tests.support.micro import micro_config
from tests.support.scenes import surround_lidar_to_image


def test_pillars_stand_on_the_cell_centres() -> None:
    config = dataclasses.replace(micro_config(), bev_h=2, bev_w=4)
    points = pillar_points_lidar_m(PillarGrid.of(config)).reshape(4, 2, 4, 4)
    np.testing.assert_allclose(points[0, 0, :, 0], [-38.4, -12.8, 12.8, 38.4], rtol=1e-6)
    np.testing.assert_allclose(points[1, :, 0, 0], [-25.6, 25.6], rtol=1e-6)
    np.testing.assert_allclose(points[2, 0, 0], [-4.5, -4.5 + 7 / 3, -4.5 + 14 / 3, 2.5], rtol=1e-5)
    assert (points[3] == 1).all()


def real_cameras() -> np.ndarray:
    folder = shared_data() / "nuscenes_scene_0103/extracted_data/fcbccedd61424f1b85dcbf8f897f9754"
    return np.array(json.loads((folder / "meta_000000.json").read_text())["lidar2img"])


@requires_shared_data
def test_the_count_is_the_models_own() -> None:
    camera_calibration = real_cameras()
    config = PRESETS["tiny"]
    _, seen = PillarProjection(config)(torch.from_numpy(camera_calibration).float().unsqueeze(0))
    assert (cameras_per_query(PillarGrid.of(config), camera_calibration) == seen.sum(0).numpy()).mean() > 0.999


@requires_shared_data
def test_nuscenes_cells_are_seen_by_at_most_two_cameras() -> None:
    counts = cameras_per_query(PillarGrid.of(PRESETS["tiny"]), real_cameras())
    assert counts.max() == 2
    assert (counts >= 1).mean() > 0.95


@requires_shared_data
@pytest.mark.parametrize("name", list(PRESETS))
def test_two_cameras_per_cell_are_enough_for_nuscenes_with_ten_times_the_margin(name: str) -> None:
    config = PRESETS[name]
    scale = config.image_scale / PRESETS["tiny"].image_scale
    camera_calibration = np.diag([scale, scale, 1.0, 1.0]) @ real_cameras()
    assert needed_cameras_per_query(PillarGrid.of(config), [camera_calibration, camera_calibration]) == 2
    assert needed_cameras_per_query(PillarGrid.of(config), [camera_calibration], margin=0.2) == 2


def test_capacity_is_the_largest_of_all_rigs_and_grows_with_the_margin() -> None:
    grid = PillarGrid.of(micro_config())
    camera_calibration = surround_lidar_to_image(grid.image_hw)
    doubled = np.concatenate([camera_calibration, camera_calibration])
    assert needed_cameras_per_query(grid, [camera_calibration]) == 2
    assert needed_cameras_per_query(grid, [camera_calibration, doubled]) == 4
    assert needed_cameras_per_query(grid, [camera_calibration], margin=3.0) > 2
    assert needed_cameras_per_query(grid, []) == 1


def test_a_margin_only_adds_cameras() -> None:
    grid = PillarGrid.of(micro_config())
    camera_calibration = surround_lidar_to_image(grid.image_hw)
    exact, wide = cameras_per_query(grid, camera_calibration), cameras_per_query(grid, camera_calibration, margin=0.1)
    assert (wide >= exact).all()
    assert (wide > exact).any()
