"""Poses of nuScenes' tables as matrices, and the projections that the original BEVFormer computes from them.

Source: `tools/data_converter/nuscenes_converter.py` (`obtain_sensor2top`) and
`projects/mmdet3d_plugin/datasets/nuscenes_dataset.py` (`get_data_info`) of the original.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import SceneError
from bevformer_lib.names import CAMERA_ORDER
from bevformer_lib.nuscenes.devkit import LIDAR_CHANNEL


@dataclass(frozen=True)
class SensorPose:
    """Where a sensor was when it measured.

    Attributes:
        sensor_to_ego: (4, 4) float64, metres.
        ego_to_global: (4, 4) float64, metres, at the time of this sensor's own measurement.
    """

    sensor_to_ego: NDArray[np.float64]
    ego_to_global: NDArray[np.float64]

    @property
    def sensor_to_global(self) -> NDArray[np.float64]:
        """(4, 4) float64, metres."""
        return np.asarray(self.ego_to_global @ self.sensor_to_ego)


def rigid_matrix(record: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return (4, 4) of a record's ``rotation`` (quaternion w, x, y, z) and ``translation`` (m).

    Raises:
        SceneError: they are no pose.
    """
    from pyquaternion import Quaternion

    rotation = np.asarray(record["rotation"], np.float64)
    translation = np.asarray(record["translation"], np.float64)
    known = rotation.shape == (4,) and translation.shape == (3,)
    if not (known and np.isfinite(rotation).all() and np.isfinite(translation).all() and rotation.any()):
        raise SceneError(
            f"pose {record.get('token')} of nuScenes' tables: rotation {record['rotation']} and translation "
            f"{record['translation']} are no pose; download ego_pose.json and calibrated_sensor.json again"
        )
    matrix = np.eye(4)
    matrix[:3, :3] = Quaternion(rotation).rotation_matrix
    matrix[:3, 3] = translation
    return matrix


def sensor_pose(dataset: Any, sample: Mapping[str, Any], channel: str) -> SensorPose:
    """Return the pose of a keyframe's sensor, with the ego pose at that sensor's own timestamp."""
    data = dataset.get("sample_data", sample["data"][channel])
    return SensorPose(
        sensor_to_ego=rigid_matrix(dataset.get("calibrated_sensor", data["calibrated_sensor_token"])),
        ego_to_global=rigid_matrix(dataset.get("ego_pose", data["ego_pose_token"])),
    )


def lidar_to_image(dataset: Any, sample: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return (cameras, 4, 4) float64: LiDAR frame (m) to homogeneous pixels of the cameras' own images.

    The way leads from the LiDAR through the ego pose at its time to the global frame, and through the ego
    pose at each camera's time to the camera: the car moves on between the two.
    """
    lidar_to_global = sensor_pose(dataset, sample, LIDAR_CHANNEL).sensor_to_global
    matrices = []
    for channel in CAMERA_ORDER:
        lidar_to_camera = np.linalg.inv(sensor_pose(dataset, sample, channel).sensor_to_global) @ lidar_to_global
        data = dataset.get("sample_data", sample["data"][channel])
        intrinsics = np.eye(4)
        intrinsics[:3, :3] = dataset.get("calibrated_sensor", data["calibrated_sensor_token"])["camera_intrinsic"]
        matrices.append(intrinsics @ lidar_to_camera)
    return np.stack(matrices)
