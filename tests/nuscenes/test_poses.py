"""Projections: points computed by hand on the straight scene, and by the devkit's own way on the turning one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("nuscenes", reason="nuscenes-devkit is not installed; make test installs it")

from nuscenes.utils.geometry_utils import BoxVisibility, view_points

from bevformer_lib.names import CAMERA_ORDER
from bevformer_lib.nuscenes.poses import lidar_to_image, rigid_matrix
from bevformer_lib.scenes.scaling import scaled_projections
from tests.support.nuscenes import KEYFRAMES, SCENE_NAMES, token


def project(matrix: np.ndarray, point_m: tuple[float, float, float]) -> tuple[float, float, float]:
    u, v, depth, _ = matrix @ (*point_m, 1.0)
    return u / depth, v / depth, depth


def test_front_camera_by_hand(dataset: Any) -> None:
    """20 m ahead of the LiDAR, at its height.

    The LiDAR is 0.9 m ahead of the car's origin. The front camera triggers 50 ms earlier, when the car was 0.5 m
    further back at 10 m/s; it sits 1.7 m ahead of the origin, 0.3 m below the LiDAR.
    Depth: 20 + 0.9 + 0.5 - 1.7 = 19.7 m; the point is 0.3 m above the camera.
    """
    matrices = lidar_to_image(dataset, dataset.get("sample", token("sample", "scene-0103", 2)))
    u, v, depth = project(matrices[CAMERA_ORDER.index("CAM_FRONT")], (0.0, 20.0, 0.0))
    assert depth == pytest.approx(19.7)
    assert (u, v) == pytest.approx((800.0, 450.0 - 1000.0 * 0.3 / 19.7))


def test_back_camera_by_hand(dataset: Any) -> None:
    """10 m behind the LiDAR and 2 m to its right, seen 20 ms later: the car is 0.2 m further ahead by then.

    Depth: 10 - 0.9 + 0.2 = 9.3 m from a camera at the origin. The camera looks back, so right is to its left.
    """
    matrices = lidar_to_image(dataset, dataset.get("sample", token("sample", "scene-0103", 1)))
    u, v, depth = project(matrices[CAMERA_ORDER.index("CAM_BACK")], (2.0, -10.0, -0.2))
    assert depth == pytest.approx(9.3)
    assert (u, v) == pytest.approx((800.0 - 1000.0 * 2.0 / 9.3, 450.0))


@pytest.mark.parametrize("scene", SCENE_NAMES)
@pytest.mark.parametrize("frame", range(KEYFRAMES))
def test_every_annotation_as_the_devkit_projects_it(dataset: Any, scene: str, frame: int) -> None:
    sample = dataset.get("sample", token("sample", scene, frame))
    in_lidar = {box.token: box.center for box in dataset.get_sample_data(sample["data"]["LIDAR_TOP"])[1]}
    compared = 0
    for channel, matrix in zip(CAMERA_ORDER, lidar_to_image(dataset, sample), strict=True):
        _, boxes, intrinsics = dataset.get_sample_data(sample["data"][channel], box_vis_level=BoxVisibility.NONE)
        for box in boxes:
            if box.center[2] > 1.0:
                expected = view_points(box.center[:, None], intrinsics, normalize=True)[:2, 0]
                u, v, depth = project(matrix, tuple(in_lidar[box.token]))
                np.testing.assert_allclose((u, v), expected, atol=1e-6)
                assert depth == pytest.approx(box.center[2])
                compared += 1
    assert compared > 20


def test_scaled_projections_are_scaled_pixels(dataset: Any) -> None:
    matrices = lidar_to_image(dataset, dataset.get("sample", token("sample", "scene-0916", 0)))
    for whole, half in zip(matrices, scaled_projections(matrices, 0.5), strict=True):
        u, v, depth = project(whole, (3.0, 11.0, -1.0))
        assert project(half, (3.0, 11.0, -1.0)) == pytest.approx((u / 2, v / 2, depth))


def test_rigid_matrix_turns_then_shifts() -> None:
    quarter = {"rotation": [np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)], "translation": [10.0, 20.0, 30.0]}
    np.testing.assert_allclose(rigid_matrix(quarter) @ (1.0, 0.0, 0.0, 1.0), (10.0, 21.0, 30.0, 1.0), atol=1e-12)
