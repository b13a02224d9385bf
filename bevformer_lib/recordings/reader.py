"""A recording as scenes: frames put together by time stamps, with images that are read when they are needed."""

from __future__ import annotations

import hashlib
import logging
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import RecordingError
from bevformer_lib.names import camera_names
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.recordings import messages
from bevformer_lib.recordings.container import Channel, MessageReader, recording_file
from bevformer_lib.recordings.messages import Calibration, Decoder, Kind, telling
from bevformer_lib.recordings.poses import EgoPoses, EgoState
from bevformer_lib.recordings.survey import FoundImage, Survey, survey_recording
from bevformer_lib.recordings.synchronize import Synchronized, synchronize
from bevformer_lib.recordings.topics import CameraTopics, Topics, calibration_topic, image_topic, is_rectified
from bevformer_lib.recordings.transforms import Transforms, rigid_inverse
from bevformer_lib.scenes.plausibility import warn_of_implausible
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.scaling import scale_to, scaled_image, scaled_projections
from bevformer_lib.scenes.types import Frame, ImageRef, Scene

TOLERANCE_S: Final = 0.05
"""Between the cameras of a frame; nuScenes' stand up to 43 ms apart, and take an image every 83 ms."""
_SECOND_NS: Final = 1_000_000_000
_FORWARD: Final = 0.5
"""Least part of the first camera's viewing direction along the LiDAR frame's y axis: 60 degrees off."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecordingOptions:
    """How a recording is read.

    Attributes:
        topics: what the user told of them.
        tolerance_s: how far the cameras' images of a frame, and the pose, may be from its time.
        interval_s: frames that come earlier than this after the last one are passed over; 0: none is.
        longest_gap_s: a frame that follows the last one after more begins a new scene.
    """

    topics: Topics
    longest_gap_s: float
    tolerance_s: float = TOLERANCE_S
    interval_s: float = 0.0


@dataclass(frozen=True)
class _Camera:
    """A camera of the recording: its images in the order in which they were recorded."""

    name: str
    channel: Channel
    kind: Kind
    images: Sequence[FoundImage]
    calibrations: Sequence[tuple[int, Calibration]]
    rectified: bool
    frame: str

    def calibration_at(self, stamp_ns: int) -> Calibration:
        """Return what held at a time: told last before it, or first of all."""
        after = bisect_right(self.calibrations, stamp_ns, key=lambda told: told[0])
        return self.calibrations[max(after - 1, 0)][1]


def read_recording(
    path: Path,
    requirements: SceneRequirements,
    options: RecordingOptions,
    *,
    on_progress: ProgressCallback = no_progress,
) -> tuple[Scene, ...]:
    """Read and check a recording; its frames' images are read again when they are asked for.

    A scene ends where no frame follows for long. One scene has the recording's name; several are numbered.

    Args:
        path: the file, or a folder with one of them.
        requirements: what the model asks for.
        options: how it is read.
        on_progress: told the megabytes that were read.

    Raises:
        MissingPackageError: the packages for recordings are not installed.
        RecordingError: the file can't be read, or lacks a camera, a calibration, a pose or every frame.
    """
    path = recording_file(path)
    names, tolerance_ns = camera_names(requirements.num_cams), round(options.tolerance_s * _SECOND_NS)
    unknown = sorted(set(options.topics.cameras) - set(names))
    if unknown:
        raise RecordingError(f"--topics names the cameras {', '.join(unknown)}; the model's are {', '.join(names)}")
    survey = survey_recording(path, options.topics, names, on_progress=on_progress)
    cameras = [_camera(path, survey, name, options.topics.cameras.get(name, CameraTopics())) for name in names]
    scales = [_scale(path, camera, requirements.image_hw) for camera in cameras]
    poses = EgoPoses(path, survey, options.topics, tolerance_ns=tolerance_ns)
    lidar_frame = _lidar_frame(path, survey.transforms, options.topics, poses.ego_frame)
    found = synchronize(
        [[image.stamp_ns for image in camera.images] for camera in cameras],
        tolerance_ns=tolerance_ns,
        interval_ns=round(options.interval_s * _SECOND_NS),
    )
    geometry = _Geometry(path, survey.transforms, poses, lidar_frame)
    read = partial(_pixels, path, MessageReader(path), Decoder(path))
    scenes: list[list[Frame]] = []
    without_pose, last_ns = 0, None
    for chosen in found.frames:
        images = [camera.images[number] for camera, number in zip(cameras, chosen, strict=True)]
        stamp_ns = images[0].stamp_ns
        state = poses.at(stamp_ns)
        projections = None if state is None else geometry.projections(cameras, images, scales, stamp_ns, state)
        if state is None or projections is None:
            without_pose += 1
            continue
        if last_ns is None or stamp_ns - last_ns > options.longest_gap_s * _SECOND_NS:
            scenes.append([])
        last_ns = stamp_ns
        refs = tuple(
            ImageRef(path, pixels=partial(read, camera, image, scale))
            for camera, image, scale in zip(cameras, images, scales, strict=True)
        )
        scenes[-1].append(_frame(path, len(scenes[-1]), refs, images, projections, state, geometry.lidar_to_ego()))
    _tell_left_out(path, names, found, without_pose, frames=sum(map(len, scenes)))
    numbered = [path.stem] if len(scenes) == 1 else [f"{path.stem}-{number:04d}" for number in range(len(scenes))]
    result = tuple(Scene(name, tuple(frames)) for name, frames in zip(numbered, scenes, strict=True))
    warn_of_implausible(result)
    return result


class _Geometry:
    """Projections of the cameras of a recording's frames."""

    def __init__(self, path: Path, transforms: Transforms, poses: EgoPoses, lidar_frame: str) -> None:
        self._path, self._transforms, self._poses, self._lidar = path, transforms, poses, lidar_frame
        self._checked = False

    def lidar_to_ego(self) -> NDArray[np.float64] | None:
        """Return (4, 4), or ``None`` where the recording does not connect the two."""
        return self._transforms.mounted(self._lidar, self._poses.ego_frame, 0)

    def projections(
        self,
        cameras: Sequence[_Camera],
        images: Sequence[FoundImage],
        scales: Sequence[float],
        stamp_ns: int,
        state: EgoState,
    ) -> NDArray[np.float64] | None:
        """Return (cameras, 4, 4), LiDAR frame (m) at the frame's time to pixels at the time of each camera's image.

        As the original has it for nuScenes: in between, the car has moved. ``None``: how is not known.
        """
        matrices = []
        for camera, image, scale in zip(cameras, images, scales, strict=True):
            moved = np.eye(4)
            if image.stamp_ns != stamp_ns:
                then = self._poses.at(image.stamp_ns)
                if then is None:
                    return None
                ego = self._poses.ego_frame
                back = rigid_inverse(then.ego_to_global) @ state.ego_to_global
                to_lidar, to_ego = self._mounted(ego, self._lidar, stamp_ns), self._mounted(self._lidar, ego, stamp_ns)
                moved = to_lidar @ back @ to_ego
            lidar_to_camera = self._mounted(self._lidar, camera.frame, image.stamp_ns) @ moved
            intrinsics = np.eye(4)
            with telling(self._path, camera.channel.topic):
                known = camera.calibration_at(image.stamp_ns)
                intrinsics[:3, :3] = known.intrinsics(rectified=camera.rectified)
            matrices.append(scaled_projections(intrinsics @ lidar_to_camera, scale))
            if not self._checked:
                self._require_forward(camera, lidar_to_camera)
        return np.stack(matrices)

    def _require_forward(self, camera: _Camera, lidar_to_camera: NDArray[np.float64]) -> None:
        """Find out whether the LiDAR frame's axes are those that the model knows, by where the first camera looks."""
        self._checked = True
        right, forward, up = lidar_to_camera[2, :3]
        if forward < _FORWARD:
            place = self.lidar_to_ego()
            x, y, z = (0.0, 0.0, 0.0) if place is None else place[:3, 3].round(3).tolist()
            raise RecordingError(
                f"{self._path}: {camera.name} looks along ({right:.2f}, {forward:.2f}, {up:.2f}) of frame "
                f"{self._lidar}; the model's LiDAR frame has x to the right, y ahead and z up, and the camera's z "
                "ahead. Name another frame in a file for --topics as lidar_frame, or one with these axes in its place: "
                f"lidar_to_ego: [[0, 1, 0, {x}], [-1, 0, 0, {y}], [0, 0, 1, {z}], [0, 0, 0, 1]]"
            )

    def _mounted(self, source: str, target: str, stamp_ns: int) -> NDArray[np.float64]:
        matrix = self._transforms.mounted(source, target, stamp_ns)
        if matrix is None:
            raise RecordingError(
                f"{self._path}: no transforms lead from frame {source} to frame {target}; record /tf and /tf_static, "
                f"or name other frames in a file for --topics. The frames are "
                f"{', '.join(sorted(self._transforms.frames)) or 'none'}"
            )
        return matrix


def _camera(path: Path, survey: Survey, name: str, told: CameraTopics) -> _Camera:
    topic = image_topic(path, name, told.image, survey.kinds)
    calibrated = calibration_topic(path, name, told.calibration, topic, survey.kinds)
    for needed in (topic, calibrated):
        survey.require_some(needed)
    calibrations = sorted(survey.calibrations[calibrated], key=lambda told: told[0])
    kind = Kind.ENCODED_IMAGE if survey.kinds[topic] is Kind.ENCODED_IMAGE else Kind.RAW_IMAGE
    frame, rectified = calibrations[0][1].frame or survey.image_frames[topic], is_rectified(topic)
    images = sorted(survey.images[topic], key=lambda image: image.log_time_ns)
    if not rectified and calibrations[0][1].distorted:
        _log.warning(
            "warning: %s: the images of %s are as the lens bends them, which no projection follows; record rectified "
            "ones (ROS 2: image_proc)",
            path,
            topic,
        )
    return _Camera(name, survey.channels[topic], kind, images, calibrations, rectified, frame)


def _scale(path: Path, camera: _Camera, image_hw: tuple[int, int]) -> float:
    """Return the factor that brings a camera's images to the model's size."""
    (height, width), *others = sorted({image.image_hw for image in camera.images})
    where = f"{path}: topic {camera.channel.topic}"
    if others:
        raise RecordingError(f"{where} holds images of several sizes: {[(height, width), *others]}; name another topic")
    for _, calibration in camera.calibrations:
        if any(calibration.image_hw) and calibration.image_hw != (height, width):
            raise RecordingError(
                f"{where} holds images of {height} x {width} pixels (height x width), and the calibration of "
                f"{camera.name} is for {calibration.image_hw[0]} x {calibration.image_hw[1]}; record what belongs "
                "together"
            )
    scale = scale_to(height, width, image_hw)
    if scale is None:
        raise RecordingError(
            f"{where} holds images of {height} x {width} pixels (height x width); the model takes {image_hw[0]} x "
            f"{image_hw[1]}, or less by under 32, or what becomes that when it is made smaller. Take a model for these"
        )
    if scale != 1.0:
        _log.info("%s: images of %d x %d are scaled by %.4g", where, height, width, scale)
    return scale


def _lidar_frame(path: Path, transforms: Transforms, topics: Topics, ego_frame: str) -> str:
    """Return the LiDAR's frame; one that the user gave as a matrix is put among the transforms."""
    if topics.lidar_to_ego is not None:
        return transforms.place("lidar_to_ego of --topics", ego_frame, np.array(topics.lidar_to_ego, dtype=np.float64))
    if topics.lidar_frame is not None:
        return topics.lidar_frame
    named = sorted(frame for frame in transforms.frames if "lidar" in frame.lower())
    top = [frame for frame in named if "top" in frame.lower()]
    chosen = top if len(top) == 1 else named
    if len(chosen) != 1:
        raise RecordingError(
            f"{path}: which frame is the LiDAR's can't be told; name it in a file for --topics as lidar_frame, or say "
            f"as lidar_to_ego where it would be. The frames are {', '.join(sorted(transforms.frames)) or 'none'}"
        )
    return chosen[0]


def _frame(
    path: Path,
    index: int,
    refs: tuple[ImageRef, ...],
    images: Sequence[FoundImage],
    projections: NDArray[np.float64],
    state: EgoState,
    lidar_to_ego: NDArray[np.float64] | None,
) -> Frame:
    digest = hashlib.sha256(projections.tobytes() + state.can_bus_absolute.tobytes())
    digest.update(repr([(image.stamp_ns, image.size) for image in images]).encode())
    seconds, nanoseconds = divmod(images[0].stamp_ns, _SECOND_NS)
    return Frame(
        index=index,
        images=refs,
        lidar_to_image=projections,
        can_bus_absolute=state.can_bus_absolute,
        gt_boxes=None,
        meta_path=path / f"{seconds}.{nanoseconds:09d}",
        timestamp_us=images[0].stamp_ns // 1000,
        lidar_to_ego=lidar_to_ego,
        ego_to_global=state.ego_to_global,
        sha256=digest.hexdigest(),
    )


def _pixels(
    path: Path, reader: MessageReader, decode: Decoder, camera: _Camera, image: FoundImage, scale: float
) -> NDArray[np.uint8]:
    """Read an image of a recording: (h, w, 3) BGR."""
    decoded = decode(camera.channel, reader.data(image.place))
    with telling(path, camera.channel.topic):
        if messages.image_hw(decoded, camera.kind) != image.image_hw:
            raise ValueError("holds another image than when it was checked")
        return scaled_image(messages.image_pixels(decoded, camera.kind), scale)


def _tell_left_out(path: Path, names: Sequence[str], found: Synchronized, without_pose: int, *, frames: int) -> None:
    told = [f"{count} lack {names[camera]}" for camera, count in sorted(found.without.items())]
    told += [f"{without_pose} have no pose"] if without_pose else []
    told += [f"{found.late} came late"] if found.late else []
    if not frames:
        raise RecordingError(
            f"{path}: holds no frame with {len(names)} cameras and a pose near enough in time ({', '.join(told)}); a "
            "longer --tolerance allows for more"
        )
    if told:
        _log.warning("warning: %s: frames that are left out, of %s: %s", path, names[0], ", ".join(told))
