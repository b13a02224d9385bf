"""Where the synthetic car carries its cameras and its LiDAR, and how they project.

Ego frame: x forward, y left, z up, origin on the ground below the rear axle. LiDAR frame: x right, y forward, z up.
Camera frame: x right, y down, z forward. Mounting positions, angles and focal lengths are rounded from a nuScenes car.
All sensors fire at the same moment, so that ``lidar_to_image`` needs no ego motion in between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import ConfigError
from bevformer_lib.names import CAMERA_ORDER

SENSOR_HW: Final = (900, 1600)
"""Height and width of a camera's own image, pixels."""


@dataclass(frozen=True)
class CameraMount:
    """How one camera is mounted.

    Attributes:
        position_m: (x, y, z) in the ego frame.
        yaw_deg: viewing direction, counter-clockwise from straight ahead.
        pitch_deg: viewing direction below the horizon.
        roll_deg: turn about the viewing direction, clockwise as seen from behind.
        focal_px: focal length at :data:`SENSOR_HW`.
        center_px: principal point (u, v) at :data:`SENSOR_HW`.
    """

    position_m: tuple[float, float, float]
    yaw_deg: float
    focal_px: float
    center_px: tuple[float, float]
    pitch_deg: float = 0.0
    roll_deg: float = 0.0


CAMERA_MOUNTS: Final = {
    "CAM_FRONT": CameraMount((1.70, 0.02, 1.51), 0.0, 1266.4, (816.3, 491.5)),
    "CAM_FRONT_RIGHT": CameraMount((1.55, -0.49, 1.50), -55.0, 1260.8, (808.0, 495.3)),
    "CAM_FRONT_LEFT": CameraMount((1.52, 0.49, 1.51), 55.0, 1272.6, (826.6, 479.8)),
    "CAM_BACK": CameraMount((0.03, 0.0, 1.58), 180.0, 809.2, (829.2, 481.8)),
    "CAM_BACK_LEFT": CameraMount((1.04, 0.48, 1.56), 110.0, 1256.7, (792.1, 492.8)),
    "CAM_BACK_RIGHT": CameraMount((1.02, -0.48, 1.56), -110.0, 1259.5, (807.3, 501.2)),
}
LIDAR_POSITION_M: Final = (0.94, 0.0, 1.84)
"""Origin of the LiDAR frame in the ego frame."""

# How far the sensors of one car are from those of another: uniform, to both sides.
_CAMERA_SHIFT_M: Final = 0.10
_CAMERA_YAW_DEG: Final = 2.5
_CAMERA_TILT_DEG: Final = 1.5
_FOCAL_PART: Final = 0.05
_CENTER_PX: Final = 12.0
_LIDAR_SHIFT_M: Final = (0.15, 0.03, 0.12)


@dataclass(frozen=True)
class Camera:
    """A camera as the renderer uses it.

    Attributes:
        name: one of ``names.CAMERA_ORDER``.
        image_hw: height and width in pixels, without padding.
        intrinsics: (3, 3) float64; pixel (u, v) shows the ray through image coordinates (u, v).
        ego_to_camera: (4, 4) float64.
        lidar_to_ego: (4, 4) float64, the pose of this car's LiDAR.
    """

    name: str
    image_hw: tuple[int, int]
    intrinsics: NDArray[np.float64]
    ego_to_camera: NDArray[np.float64]
    lidar_to_ego: NDArray[np.float64]

    @property
    def lidar_to_image(self) -> NDArray[np.float64]:
        """(4, 4) float64: LiDAR frame (m) to homogeneous pixels (u*depth, v*depth, depth, 1)."""
        projection = np.eye(4)
        projection[:3, :3] = self.intrinsics
        return projection @ self.ego_to_camera @ self.lidar_to_ego


def lidar_to_ego(position_m: tuple[float, float, float] = LIDAR_POSITION_M) -> NDArray[np.float64]:
    """Return the LiDAR's pose in the ego frame as a (4, 4) matrix."""
    return pose_matrix(position_m, -math.pi / 2)


def pose_matrix(position_m: tuple[float, float, float], yaw_rad: float) -> NDArray[np.float64]:
    """Return the (4, 4) matrix that takes a frame at ``position_m``, turned by ``yaw_rad`` about z, to its parent."""
    cos, sin = math.cos(yaw_rad), math.sin(yaw_rad)
    x, y, z = position_m
    return np.array([[cos, -sin, 0.0, x], [sin, cos, 0.0, y], [0.0, 0.0, 1.0, z], [0.0, 0.0, 0.0, 1.0]])


def camera_calibration(num_cams: int, image_scale: float, rng: np.random.Generator | None = None) -> tuple[Camera, ...]:
    """Return the first ``num_cams`` cameras of ``names.CAMERA_ORDER``, with images scaled by ``image_scale``.

    Args:
        num_cams: number of cameras.
        image_scale: factor from :data:`SENSOR_HW` to the unpadded image.
        rng: draws how the sensors of one car differ from the nominal ones; ``None``: they don't.

    Raises:
        ConfigError: the car doesn't carry so many cameras.
    """
    if not 1 <= num_cams <= len(CAMERA_ORDER):
        raise ConfigError(
            f"num_cams: {num_cams}: synthetic scenes have 1 to {len(CAMERA_ORDER)} cameras; choose another model"
        )
    if rng is None:
        mounts, lidar = CAMERA_MOUNTS, lidar_to_ego()
    else:
        mounts = {name: _varied(mount, rng) for name, mount in CAMERA_MOUNTS.items()}
        x, y, z = (
            value + float(rng.uniform(-most, most))
            for value, most in zip(LIDAR_POSITION_M, _LIDAR_SHIFT_M, strict=True)
        )
        lidar = lidar_to_ego((x, y, z))
    return tuple(_camera(name, mounts[name], image_scale, lidar) for name in CAMERA_ORDER[:num_cams])


def _varied(mount: CameraMount, rng: np.random.Generator) -> CameraMount:
    def spread(most: float) -> float:
        return float(rng.uniform(-most, most))

    x, y, z = (value + spread(_CAMERA_SHIFT_M) for value in mount.position_m)
    return CameraMount(
        position_m=(x, y, z),
        yaw_deg=mount.yaw_deg + spread(_CAMERA_YAW_DEG),
        focal_px=mount.focal_px * (1.0 + spread(_FOCAL_PART)),
        center_px=(mount.center_px[0] + spread(_CENTER_PX), mount.center_px[1] + spread(_CENTER_PX)),
        pitch_deg=spread(_CAMERA_TILT_DEG),
        roll_deg=spread(_CAMERA_TILT_DEG),
    )


def image_size_hw(image_scale: float) -> tuple[int, int]:
    """Return height and width of the unpadded image, pixels."""
    return round(SENSOR_HW[0] * image_scale), round(SENSOR_HW[1] * image_scale)


def _camera(name: str, mount: CameraMount, image_scale: float, lidar: NDArray[np.float64]) -> Camera:
    focal = mount.focal_px * image_scale
    center_u, center_v = (coordinate * image_scale for coordinate in mount.center_px)
    camera_axes_in_mount = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    camera_to_ego = pose_matrix(mount.position_m, math.radians(mount.yaw_deg))
    tilt = _about_y(math.radians(mount.pitch_deg)) @ _about_x(math.radians(mount.roll_deg))
    camera_to_ego[:3, :3] = camera_to_ego[:3, :3] @ tilt @ camera_axes_in_mount
    return Camera(
        name=name,
        image_hw=image_size_hw(image_scale),
        intrinsics=np.array([[focal, 0.0, center_u], [0.0, focal, center_v], [0.0, 0.0, 1.0]]),
        ego_to_camera=np.asarray(np.linalg.inv(camera_to_ego), dtype=np.float64),
        lidar_to_ego=lidar,
    )


def _about_x(angle_rad: float) -> NDArray[np.float64]:
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]])


def _about_y(angle_rad: float) -> NDArray[np.float64]:
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
