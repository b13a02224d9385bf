"""A scene with detections as a recording of rerun (https://rerun.io): images, boxes and the drive over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.detections.geometry import ground_truth_as_detection_boxes, heading_from_yaw_rad
from bevformer_lib.detections.types import Detections
from bevformer_lib.drawing.cameras import DRIVING_ORDER
from bevformer_lib.drawing.style import GROUND_TRUTH, Image, detections_by_class
from bevformer_lib.errors import MissingPackageError
from bevformer_lib.files import atomic_path, require_new_file
from bevformer_lib.geometry.camera_pose import placed_camera
from bevformer_lib.names import CAMERA_ORDER, CAN_BUS_POSITION, CAN_BUS_YAW_RAD
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.types import Frame, Scene

APPLICATION: Final = "bevformer"
FRAME_TIMELINE: Final = "frame"
TIME_TIMELINE: Final = "time"
WORLD: Final = "world"
CAR: Final = "world/car"
DETECTIONS: Final = "world/car/detections"
VELOCITIES: Final = "world/car/velocities"
ANNOTATIONS: Final = "world/car/annotations"
DRIVE: Final = "world/drive"

_JPEG_QUALITY: Final = 85
_IMAGE_PLANE_M: Final = 4.0
_SLOWEST_SHOWN_MPS: Final = 0.3


def import_rerun() -> ModuleType:
    """Return the module ``rerun``.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import rerun
        import rerun.blueprint
    except ImportError as error:
        raise MissingPackageError(
            f"the viewer's package is not installed ({error}); install it with 'pip install bevformer-axera[viewer]' "
            "(or 'pip install rerun-sdk')"
        ) from error
    return rerun


def export_scene(
    scene: Scene,
    preprocessor: Preprocessor,
    detections: Sequence[Detections] | None,
    class_names: Sequence[str],
    output: Path,
    *,
    on_progress: ProgressCallback = no_progress,
) -> None:
    """Write a recording that the viewer opens.

    The world's origin is where the car was at the scene's first frame. Scenes that carry the LiDAR's pose are placed by
    it; in others the car's place in ``can_bus`` is taken for the LiDAR's (about a metre apart).

    Args:
        scene: the scene.
        preprocessor: decodes its images.
        detections: one per frame, or ``None`` for none to show.
        class_names: in the order of the labels.
        output: the ``.rrd`` file; must not exist.
        on_progress: told after every frame.

    Raises:
        MissingPackageError: rerun is not installed.
        OutputError: ``output`` exists already, or can't be written.
        SceneError: an image can't be read.
    """
    rerun = import_rerun()
    require_new_file(output)
    names = camera_names(len(scene.frames[0].images))
    origin_m = scene.frames[0].can_bus_absolute[CAN_BUS_POSITION]
    poses = [_lidar_to_world(frame, origin_m) for frame in scene.frames]
    with atomic_path(output) as temporary:
        recording = rerun.RecordingStream(APPLICATION, recording_id=scene.name)
        recording.save(temporary, default_blueprint=_blueprint(rerun, names))
        _log_still(rerun, recording, [pose[:3, 3] for pose in poses])
        for number, frame in enumerate(scene.frames):
            recording.set_time(FRAME_TIMELINE, sequence=frame.index)
            if frame.timestamp_us is not None:
                recording.set_time(TIME_TIMELINE, timestamp=np.datetime64(frame.timestamp_us, "us"))
            pose = poses[number]
            recording.log(CAR, rerun.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
            _log_cameras(rerun, recording, frame, preprocessor.images(frame), names)
            if detections is not None:
                _log_detections(rerun, recording, detections[number], class_names)
            if frame.gt_boxes is not None:
                boxes = ground_truth_as_detection_boxes(frame.gt_boxes).astype(np.float64)
                labels = [box.category.replace("_", " ") for box in frame.gt_boxes]
                recording.log(ANNOTATIONS, _boxes(rerun, boxes, [GROUND_TRUTH[::-1]] * len(boxes), labels, thin=True))
            on_progress("view", number + 1, len(scene.frames))
        recording.flush()
        recording.disconnect()


def camera_names(num_cams: int) -> tuple[str, ...]:
    """Return the names of the cameras in stored order: nuScenes' where there are six, numbers otherwise."""
    return CAMERA_ORDER if num_cams == len(CAMERA_ORDER) else tuple(f"CAM_{number}" for number in range(num_cams))


def camera_path(name: str) -> str:
    """Return where a camera is found in the recording."""
    return f"{CAR}/cameras/{name}"


def _lidar_to_world(frame: Frame, origin_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the LiDAR's pose (4, 4) in a world whose axes are the global ones and whose origin is ``origin_m``."""
    if frame.lidar_to_ego is not None and frame.ego_to_global is not None:
        pose = np.asarray(frame.ego_to_global @ frame.lidar_to_ego, dtype=np.float64)
    else:
        # The yaw is that of the car's forward axis, which is the LiDAR's y axis.
        turn_rad = float(frame.can_bus_absolute[CAN_BUS_YAW_RAD]) - np.pi / 2
        pose = np.eye(4)
        pose[:2, :2] = [[np.cos(turn_rad), -np.sin(turn_rad)], [np.sin(turn_rad), np.cos(turn_rad)]]
        pose[:3, 3] = frame.can_bus_absolute[CAN_BUS_POSITION]
    pose[:3, 3] -= origin_m
    return pose


def _log_still(rerun: Any, recording: Any, positions_m: Sequence[NDArray[np.float64]]) -> None:
    """Log what holds at all times: which way is up, and the whole drive."""
    recording.log(WORLD, rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    drive = rerun.LineStrips3D([np.array(positions_m)], colors=[(154, 165, 177)], radii=[0.08], labels=["drive"])
    recording.log(DRIVE, drive, static=True)


def _log_cameras(rerun: Any, recording: Any, frame: Frame, images: Sequence[Image], names: Sequence[str]) -> None:
    for name, image, matrix in zip(names, images, frame.lidar_to_image, strict=True):
        camera = placed_camera(matrix)
        path = camera_path(name)
        recording.log(path, rerun.Transform3D(translation=camera.position_m, mat3x3=camera.rotation))
        pinhole = rerun.Pinhole(
            image_from_camera=camera.intrinsics,
            resolution=(image.shape[1], image.shape[0]),
            camera_xyz=rerun.ViewCoordinates.RDF,
            image_plane_distance=_IMAGE_PLANE_M,
        )
        recording.log(path, pinhole)
        _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        recording.log(path, rerun.EncodedImage(contents=encoded.tobytes(), media_type="image/jpeg"))


def _log_detections(rerun: Any, recording: Any, detections: Detections, class_names: Sequence[str]) -> None:
    layer = detections_by_class(detections, class_names)
    colors = [color[::-1] for color in layer.colors]
    recording.log(DETECTIONS, _boxes(rerun, layer.boxes, colors, layer.captions, thin=False))
    moving = np.linalg.norm(layer.boxes[:, 7:9], axis=1) > _SLOWEST_SHOWN_MPS
    arrows = rerun.Arrows3D(
        origins=_centers_m(layer.boxes)[moving],
        vectors=np.pad(layer.boxes[moving, 7:9], ((0, 0), (0, 1))),
        colors=[color for color, shown in zip(colors, moving, strict=True) if shown],
    )
    recording.log(VELOCITIES, arrows)


def _boxes(
    rerun: Any,
    boxes: NDArray[np.float64],
    colors: Sequence[tuple[int, int, int]],
    labels: Sequence[str],
    *,
    thin: bool,
) -> Any:
    """Return boxes, (n, 9) as in ``Detections.boxes``, as rerun draws them: length along the box's own x axis."""
    turns = heading_from_yaw_rad(boxes[:, 6])
    half = np.zeros(len(boxes))
    return rerun.Boxes3D(
        centers=_centers_m(boxes),
        half_sizes=boxes[:, [4, 3, 5]] / 2,
        quaternions=np.stack([half, half, np.sin(turns / 2), np.cos(turns / 2)], axis=1),
        colors=colors,
        labels=labels,
        show_labels=False,
        radii=[0.015 if thin else 0.04] * len(boxes),
    )


def _centers_m(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    centers = boxes[:, :3].copy()
    centers[:, 2] += boxes[:, 5] / 2
    return centers


def _blueprint(rerun: Any, names: Sequence[str]) -> Any:
    """Return the windows: the cameras in driving order above, the world below."""
    rows = DRIVING_ORDER if len(names) == len(CAMERA_ORDER) else (tuple(names),)
    layout = rerun.blueprint
    views = [
        layout.Spatial2DView(origin=camera_path(name), name=name, contents=[camera_path(name), DETECTIONS, ANNOTATIONS])
        for row in rows
        for name in row
    ]
    world = layout.Spatial3DView(origin=WORLD, name="world")
    cameras = layout.Grid(*views, grid_columns=max(map(len, rows)))
    return layout.Blueprint(layout.Vertical(cameras, world, row_shares=[1, 1]))
