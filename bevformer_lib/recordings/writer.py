"""Scenes as recordings that a car might have made: ROS 2's messages, images with the bytes that are stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import OutputError, SceneError
from bevformer_lib.files import atomic_path
from bevformer_lib.geometry.camera_pose import placed_camera
from bevformer_lib.names import CAN_BUS_POSITION, CAN_BUS_YAW_RAD, camera_names
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.recordings.packages import import_for_recordings
from bevformer_lib.recordings.ros2_types import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    DEFINITIONS,
    IMU,
    ODOMETRY,
    TF_MESSAGE,
)
from bevformer_lib.recordings.transforms import quaternion_of
from bevformer_lib.scenes.image_files import check_image
from bevformer_lib.scenes.preprocess import READ_COLOR
from bevformer_lib.scenes.types import Frame, ImageRef, Scene

SUFFIX: Final = ".mcap"
_WORLD, _EGO, _LIDAR = "map", "base_link", "LIDAR_TOP"
_CHUNK_BYTES: Final = 4 << 20
_FRAME_PERIOD_US: Final = 500_000
_FIRST_US: Final = 1_000_000
"""Of scenes without times; 0 means in a message that none is told."""
_UNKNOWN_PLACE: Final = np.array(
    [[0.0, 1.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)
"""Of a LiDAR in the car where a scene does not tell it: its axes are known."""


def write_recordings(
    scenes: Sequence[Scene], output_dir: Path, *, on_progress: ProgressCallback = no_progress
) -> tuple[Path, ...]:
    """Write ``output_dir/<scene>.mcap`` for each scene, and return these files.

    Topics are named as nuscenes2mcap names them: ``/CAM_FRONT/image_rect_compressed`` and ``/CAM_FRONT/camera_info``
    for each camera, ``/tf`` from the map to the car, its LiDAR and the cameras, ``/odom`` and ``/imu``. A file appears
    when it is whole.

    Args:
        scenes: what is written.
        output_dir: made if missing.
        on_progress: told the frames that are written.

    Raises:
        MissingPackageError: the packages for recordings are not installed.
        OutputError: a file is there already.
        SceneError: an image can't be read.
    """
    writer = import_for_recordings("mcap_ros2.writer")
    outputs = tuple(output_dir / f"{scene.name}{SUFFIX}" for scene in scenes)
    for path in outputs:
        if path.exists():
            raise OutputError(f"{path} is there already; remove it, or choose another output folder")
    done, total = 0, sum(len(scene.frames) for scene in scenes)
    output_dir.mkdir(parents=True, exist_ok=True)
    for scene, path in zip(scenes, outputs, strict=True):
        with (
            atomic_path(path) as temporary,
            temporary.open("wb") as stream,
            writer.Writer(stream, chunk_size=_CHUNK_BYTES) as recording,
        ):
            types = {name: recording.register_msgdef(name, text) for name, text in DEFINITIONS.items()}
            for position, frame in enumerate(scene.frames):
                stamp_ns = _stamp_ns(frame, position)
                for topic, kind, message in _messages(frame, stamp_ns):
                    recording.write_message(topic, types[kind], message, log_time=stamp_ns)
                done += 1
                on_progress("writing recordings", done, total)
    return outputs


def _stamp_ns(frame: Frame, position: int) -> int:
    told = frame.timestamp_us
    return 1000 * (_FIRST_US + position * _FRAME_PERIOD_US if told is None else told)


def _messages(frame: Frame, stamp_ns: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Return what is recorded at a frame: topic, type, content."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)

    def header(frame_id: str) -> dict[str, Any]:
        return {"stamp": {"sec": seconds, "nanosec": nanoseconds}, "frame_id": frame_id}

    def transform(
        parent: str, child: str, translation: Sequence[float] | NDArray[Any], quaternion: Sequence[float] | NDArray[Any]
    ) -> dict[str, Any]:
        inner = {"translation": _xyz(translation), "rotation": _wxyz(quaternion)}
        return {"header": header(parent), "child_frame_id": child, "transform": inner}

    position, orientation = _ego_pose(frame)
    place = _UNKNOWN_PLACE if frame.lidar_to_ego is None else frame.lidar_to_ego
    mounted = transform(_EGO, _LIDAR, place[:3, 3], quaternion_of(place[:3, :3]))
    transforms = [transform(_WORLD, _EGO, position, orientation), mounted]
    images: list[tuple[str, str, dict[str, Any]]] = []
    names = camera_names(len(frame.images))
    for name, image, projection in zip(names, frame.images, frame.lidar_to_image, strict=True):
        content, kind, (height, width) = _encoded(image)
        camera = placed_camera(projection)
        transforms.append(transform(_LIDAR, name, camera.position_m, quaternion_of(camera.rotation)))
        info = {
            "header": header(name),
            "height": height,
            "width": width,
            "distortion_model": "plumb_bob",
            "d": [0.0] * 5,
            "k": camera.intrinsics.ravel().tolist(),
            "r": np.eye(3).ravel().tolist(),
            "p": np.hstack([camera.intrinsics, np.zeros((3, 1))]).ravel().tolist(),
            "binning_x": 0,
            "binning_y": 0,
            "roi": {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False},
        }
        images.append((f"/{name}/camera_info", CAMERA_INFO, info))
        stored = {"header": header(name), "format": kind, "data": content}
        images.append((f"/{name}/image_rect_compressed", COMPRESSED_IMAGE, stored))
    acceleration, rate, velocity = frame.can_bus_absolute[7:16].reshape(3, 3)
    odometry = {
        "header": header(_WORLD),
        "child_frame_id": _EGO,
        "pose": {"pose": {"position": _xyz(position), "orientation": _wxyz(orientation)}, "covariance": [0.0] * 36},
        "twist": {"twist": {"linear": _xyz(velocity), "angular": _xyz(rate)}, "covariance": [0.0] * 36},
    }
    imu = {
        "header": header(_EGO),
        "orientation": _wxyz(orientation),
        "orientation_covariance": [0.0] * 9,
        "angular_velocity": _xyz(rate),
        "angular_velocity_covariance": [0.0] * 9,
        "linear_acceleration": _xyz(acceleration),
        "linear_acceleration_covariance": [0.0] * 9,
    }
    return [("/tf", TF_MESSAGE, {"transforms": transforms}), ("/odom", ODOMETRY, odometry), ("/imu", IMU, imu), *images]


def _ego_pose(frame: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the car's position (m) and its quaternion w, x, y, z, whose sign is that of the can_bus."""
    if frame.ego_to_global is None:
        half_rad = float(frame.can_bus_absolute[CAN_BUS_YAW_RAD]) / 2.0
        position = frame.can_bus_absolute[CAN_BUS_POSITION]
        quaternion = np.array((math.cos(half_rad), 0.0, 0.0, math.sin(half_rad)))
    else:
        position, quaternion = frame.ego_to_global[:3, 3], quaternion_of(frame.ego_to_global[:3, :3])
    same_sign = float(frame.can_bus_absolute[3]) * quaternion[0] >= 0.0
    return position, quaternion if same_sign else -quaternion


def _encoded(image: ImageRef) -> tuple[bytes, str, tuple[int, int]]:
    """Return an image's bytes, their format and its (height, width); one that is part of a file as PNG."""
    try:
        content = image.path.read_bytes()
        if image.rows is not None:
            decoded = cv2.imdecode(np.frombuffer(content, np.uint8), READ_COLOR)
            if decoded is None:
                raise ValueError("is no image that can be decoded")
            content = cv2.imencode(".png", decoded[slice(*image.rows)])[1].tobytes()
        return content, "png" if content.startswith(b"\x89PNG") else "jpeg", check_image(content)
    except (OSError, ValueError, cv2.error) as error:
        raise SceneError(f"{image.path}: can't be read: {error}") from error


def _xyz(values: Sequence[float] | NDArray[Any]) -> dict[str, float]:
    return dict(zip("xyz", map(float, values), strict=True))


def _wxyz(values: Sequence[float] | NDArray[Any]) -> dict[str, float]:
    return dict(zip("wxyz", map(float, values), strict=True))
