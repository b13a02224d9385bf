from __future__ import annotations

import numpy as np
import pytest

from bevformer_lib.geometry.camera_pose import placed_camera
from bevformer_lib.synthetic_scenes.cameras import camera_calibration, lidar_to_ego
from tests.support.scenes import surround_lidar_to_image


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_cameras_come_apart_into_what_they_were_made_of(scale: float) -> None:
    for camera in camera_calibration(6, scale):
        found = placed_camera(camera.lidar_to_image)
        lidar_to_camera = camera.ego_to_camera @ lidar_to_ego()
        np.testing.assert_allclose(found.intrinsics, camera.intrinsics, atol=1e-6)
        np.testing.assert_allclose(found.rotation.T, lidar_to_camera[:3, :3], atol=1e-9)
        np.testing.assert_allclose(found.position_m, np.linalg.inv(lidar_to_camera)[:3, 3], atol=1e-9)


def test_a_rig_with_rounding_stays_a_rotation() -> None:
    for matrix in surround_lidar_to_image((480, 800)).astype(np.float16).astype(np.float64):
        found = placed_camera(matrix)
        np.testing.assert_allclose(found.rotation @ found.rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(found.rotation) == pytest.approx(1.0)
        assert np.diag(found.intrinsics).min() > 0
