from __future__ import annotations

import json
import math

import numpy as np
import pytest

from bevformer_lib.errors import ConfigError
from bevformer_lib.names import CAMERA_ORDER
from bevformer_lib.synthetic_scenes.cameras import CAMERA_MOUNTS, camera_calibration, image_size_hw, lidar_to_ego
from tests.support.data import requires_shared_data, shared_data


def test_lidar_axes_are_right_forward_up() -> None:
    rotation = lidar_to_ego()[:3, :3]
    np.testing.assert_allclose(rotation @ [1, 0, 0], [0, -1, 0], atol=1e-12)
    np.testing.assert_allclose(rotation @ [0, 1, 0], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(rotation @ [0, 0, 1], [0, 0, 1], atol=1e-12)


@pytest.mark.parametrize("name", CAMERA_ORDER)
def test_a_point_on_the_viewing_axis_lands_on_the_principal_point(name: str) -> None:
    mount = CAMERA_MOUNTS[name]
    camera = camera_calibration(6, 0.5)[CAMERA_ORDER.index(name)]
    yaw = math.radians(mount.yaw_deg)
    x, y, z = mount.position_m
    in_ego = np.array([x + 12.0 * math.cos(yaw), y + 12.0 * math.sin(yaw), z, 1.0])
    projected = camera.lidar_to_image @ np.linalg.inv(lidar_to_ego()) @ in_ego
    assert projected[2] == pytest.approx(12.0)
    np.testing.assert_allclose(projected[:2] / projected[2], np.array(mount.center_px) * 0.5, atol=1e-9)
    assert projected[3] == pytest.approx(1.0)


def test_images_have_the_sizes_of_the_published_models() -> None:
    assert [image_size_hw(scale) for scale in (0.5, 0.8, 1.0)] == [(450, 800), (720, 1280), (900, 1600)]


@pytest.mark.parametrize("num_cams", [0, 7])
def test_other_camera_counts_are_refused(num_cams: int) -> None:
    with pytest.raises(ConfigError, match=f"num_cams: {num_cams}: synthetic scenes have 1 to 6 cameras"):
        camera_calibration(num_cams, 0.5)


@requires_shared_data
def test_mounting_is_like_that_of_a_real_car() -> None:
    keyframe = json.loads((shared_data() / "nuscenes_scene_0061_keyframe" / "keyframe.json").read_text())
    for camera in camera_calibration(6, 1.0):
        real = keyframe["cameras"][camera.name]
        ours = np.linalg.inv(camera.ego_to_camera)
        np.testing.assert_allclose(ours[:3, 3], np.array(real["cam2ego"])[:3, 3], atol=0.06)
        np.testing.assert_allclose(ours[:3, :3], np.array(real["cam2ego"])[:3, :3], atol=0.06)
        np.testing.assert_allclose(camera.intrinsics, real["cam2img"], atol=12.0)
