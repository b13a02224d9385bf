"""What the messages of a recording say, whichever of the field's schemas and encodings they have.

ROS 2's (`sensor_msgs`, `nav_msgs`, `geometry_msgs`, `tf2_msgs`) in CDR, and Foxglove's (`foxglove.*`) in protobuf and
JSON; fields that mean the same have different names in them.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import RecordingError
from bevformer_lib.recordings.container import Channel
from bevformer_lib.recordings.packages import import_for_recordings
from bevformer_lib.scenes.image_files import check_image
from bevformer_lib.scenes.preprocess import READ_COLOR


class Kind(Enum):
    """What a message is about; the value is what people call it."""

    ENCODED_IMAGE = "image"
    RAW_IMAGE = "raw image"
    CALIBRATION = "camera calibration"
    TRANSFORMS = "transforms"
    POSE = "pose"
    IMU = "IMU"

    @property
    def is_image(self) -> bool:
        """Whether it holds a camera's image."""
        return self in (Kind.ENCODED_IMAGE, Kind.RAW_IMAGE)


KINDS: Final[Mapping[str, Kind]] = {
    "sensor_msgs/CompressedImage": Kind.ENCODED_IMAGE,
    "foxglove.CompressedImage": Kind.ENCODED_IMAGE,
    "sensor_msgs/Image": Kind.RAW_IMAGE,
    "foxglove.RawImage": Kind.RAW_IMAGE,
    "sensor_msgs/CameraInfo": Kind.CALIBRATION,
    "foxglove.CameraCalibration": Kind.CALIBRATION,
    "tf2_msgs/TFMessage": Kind.TRANSFORMS,
    "foxglove.FrameTransform": Kind.TRANSFORMS,
    "foxglove.FrameTransforms": Kind.TRANSFORMS,
    "nav_msgs/Odometry": Kind.POSE,
    "foxglove.Odometry": Kind.POSE,
    "geometry_msgs/PoseStamped": Kind.POSE,
    "geometry_msgs/PoseWithCovarianceStamped": Kind.POSE,
    "foxglove.PoseInFrame": Kind.POSE,
    "sensor_msgs/Imu": Kind.IMU,
}
"""By the schema's name, without ROS 2's ``/msg``."""

_DECODERS: Final = {"cdr": "mcap_ros2.decoder", "protobuf": "mcap_protobuf.decoder"}
_LARGEST_SIDE: Final = 16384
_CHANNELS: Final = {"rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
_TO_BGR: Final = {
    "rgb8": cv2.COLOR_RGB2BGR,
    "rgba8": cv2.COLOR_RGBA2BGR,
    "bgra8": cv2.COLOR_BGRA2BGR,
    "mono8": cv2.COLOR_GRAY2BGR,
}
_ROTATION_TOLERANCE: Final = 1e-2
"""How far a quaternion's length may be from 1; some software writes single precision."""


@dataclass(frozen=True)
class Transform:
    """Where a frame is in another one.

    Attributes:
        stamp_ns: when.
        parent: the other frame.
        child: the frame; empty where a pose does not name it.
        values: translation (m), then the quaternion w, x, y, z.
        motion: of a pose: rotation rate (rad/s) and velocity (m/s) along the child's axes; zeros where not known.
    """

    stamp_ns: int
    parent: str
    child: str
    values: tuple[float, ...]
    motion: tuple[float, ...] = (0.0,) * 6


@dataclass(frozen=True)
class Calibration:
    """A camera's.

    Attributes:
        frame: of the camera: x right, y down, z ahead.
        image_hw: height and width of the images that it is for; (0, 0) where it does not say.
        camera: K, nine numbers row by row, pixels: for images as the lens made them.
        projection: the same of P, for rectified images; empty where it is not told.
        distorted: whether the lens bends straight lines.
    """

    frame: str
    image_hw: tuple[int, int]
    camera: tuple[float, ...]
    projection: tuple[float, ...]
    distorted: bool

    def intrinsics(self, *, rectified: bool) -> NDArray[np.float64]:
        """Return (3, 3) for images that are rectified, or not.

        Raises:
            ValueError: it is no camera's.
        """
        values = self.projection if rectified and self.projection else self.camera
        if not (values[0] > 0.0 and values[4] > 0.0 and values[6:] == (0.0, 0.0, 1.0)):
            raise ValueError(f"holds the camera matrix {list(values)}, which is none; calibrate the camera")
        return np.array(values).reshape(3, 3)


def kind_of(channel: Channel) -> Kind | None:
    """Return what a channel's messages are about; ``None``: nothing that is asked for."""
    return None if channel.schema is None else KINDS.get(channel.schema.name.replace("/msg/", "/"))


class Decoder:
    """Turns the messages of a recording into objects with their schemas' fields."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._decoders: dict[int, tuple[Channel, Callable[[bytes], Any] | None]] = {}
        self._factories: dict[str, Any] = {}

    def reads(self, channel: Channel) -> bool:
        """Tell whether a channel's encoding is one that is read.

        Raises:
            MissingPackageError: the packages for recordings are not installed.
            RecordingError: its schema is damaged.
        """
        return self._decoder(channel) is not None

    def __call__(self, channel: Channel, data: bytes) -> Any:
        """Return a message of a channel that is read.

        Raises:
            RecordingError: it is damaged.
        """
        decode = self._decoder(channel)
        with telling(self._path, channel.topic):
            if decode is None:
                raise ValueError(f"is in {channel.encoding!r}, which is not read")
            return decode(data)

    def _decoder(self, channel: Channel) -> Callable[[bytes], Any] | None:
        if id(channel) not in self._decoders:
            self._decoders[id(channel)] = channel, self._made_for(channel)
        return self._decoders[id(channel)][1]

    def _made_for(self, channel: Channel) -> Callable[[bytes], Any] | None:
        if channel.encoding == "json":
            return _from_json
        if channel.encoding not in _DECODERS:
            return None
        module = import_for_recordings(_DECODERS[channel.encoding])
        factory = self._factories.setdefault(channel.encoding, module.DecoderFactory())
        with telling(self._path, channel.topic):
            found: Callable[[bytes], Any] | None = factory.decoder_for(channel.encoding, channel.schema)
        return found


@contextmanager
def telling(path: Path, topic: str) -> Iterator[None]:
    """Turn whatever a damaged message raises into one error that names the file and the topic."""
    try:
        yield
    except RecordingError:
        raise
    except Exception as error:
        said = str(error) if isinstance(error, ValueError) else f"holds a message that can't be decoded: {error!r:.200}"
        raise RecordingError(f"{path}: topic {topic} {said}; record it again, or name another topic") from error


def stamp_ns(message: Any) -> int:
    """Return a message's own time in nanoseconds; 0 where it has none.

    Raises:
        ValueError: it is no time.
    """
    time = message.header.stamp if hasattr(message, "header") else message.timestamp
    for whole, part in (("sec", "nanosec"), ("seconds", "nanos"), ("sec", "nsec")):
        if hasattr(time, part):
            seconds, nanoseconds = getattr(time, whole), getattr(time, part)
            if type(seconds) is int and type(nanoseconds) is int and not (seconds >> 33 or nanoseconds >> 30):
                return seconds * 1_000_000_000 + nanoseconds
    raise ValueError(f"has the time {time!r:.80}; expected seconds and nanoseconds")


def frame_of(message: Any) -> str:
    """Return the frame that a message is in."""
    return _frame(message.header.frame_id if hasattr(message, "header") else message.frame_id)


def image_hw(message: Any, kind: Kind) -> tuple[int, int]:
    """Return height and width of an image, and check that it is whole.

    Raises:
        ValueError: what is wrong with it.
    """
    if kind is Kind.ENCODED_IMAGE:
        return check_image(_content(message))
    height, width, step, encoding = message.height, message.width, message.step, message.encoding
    if encoding not in _CHANNELS:
        raise ValueError(f"holds images in {encoding!r:.40}; read are {', '.join(_CHANNELS)}")
    if not (0 < height <= _LARGEST_SIDE and 0 < width <= _LARGEST_SIDE and width * _CHANNELS[encoding] <= step):
        raise ValueError(f"holds an image of {height} x {width} pixels (height x width) in rows of {step} bytes")
    if len(_content(message)) != height * step:
        raise ValueError(f"holds an image of {len(_content(message))} bytes, where {height} rows of {step} are told")
    return height, width


def image_pixels(message: Any, kind: Kind) -> NDArray[np.uint8]:
    """Return (h, w, 3) uint8 BGR of an image that :func:`image_hw` found whole.

    Raises:
        ValueError: it can't be decoded.
    """
    content = np.frombuffer(_content(message), np.uint8)
    if kind is Kind.ENCODED_IMAGE:
        decoded = cv2.imdecode(content, READ_COLOR)
        if decoded is None:
            raise ValueError("holds an image that can't be decoded")
        return np.asarray(decoded, np.uint8)
    channels = _CHANNELS[message.encoding]
    rows = content.reshape(message.height, message.step)[:, : message.width * channels]
    pixels = np.ascontiguousarray(rows).reshape(message.height, message.width, channels)
    conversion = _TO_BGR.get(message.encoding)
    return pixels if conversion is None else np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)


def calibration(message: Any) -> Calibration:
    """Return what ``CameraInfo`` or ``CameraCalibration`` say.

    Raises:
        ValueError: something is no number, or another number of them belongs there.
    """
    distortion, camera, projection = (
        getattr(message, name.lower()) if hasattr(message, name.lower()) else getattr(message, name) for name in "DKP"
    )
    p = _numbers(projection, 12) if any(projection) else ()
    return Calibration(
        frame_of(message),
        (message.height, message.width),
        _numbers(camera, 9),
        (*p[0:3], *p[4:7], *p[8:11]),
        any(_numbers(distortion, len(distortion))),
    )


def transforms(message: Any) -> Iterator[Transform]:
    """Yield what ``TFMessage``, ``FrameTransforms`` or ``FrameTransform`` hold.

    Raises:
        ValueError: something is no rigid transform.
    """
    for one in message.transforms if hasattr(message, "transforms") else [message]:
        inner = getattr(one, "transform", one)
        parent = one.header.frame_id if hasattr(one, "header") else one.parent_frame_id
        yield Transform(
            stamp_ns(one), _frame(parent), _frame(one.child_frame_id), _rigid(inner.translation, inner.rotation)
        )


def pose(message: Any) -> Transform:
    """Return what ``Odometry``, ``PoseStamped``, ``PoseWithCovarianceStamped`` or ``PoseInFrame`` say.

    Raises:
        ValueError: it is no pose.
    """
    where = getattr(message.pose, "pose", message.pose)
    child = getattr(message, "child_frame_id", "") or getattr(message, "body_frame_id", "")
    motion: tuple[float, ...] = (0.0,) * 6
    if hasattr(message, "twist"):
        motion = (*_xyz(message.twist.twist.angular), *_xyz(message.twist.twist.linear))
    elif hasattr(message, "angular_velocity"):
        motion = (*_xyz(message.angular_velocity), *_xyz(message.linear_velocity))
    return Transform(
        stamp_ns(message), frame_of(message), _frame(child), _rigid(where.position, where.orientation), motion
    )


def acceleration_mps2(message: Any) -> tuple[float, ...]:
    """Return what an ``Imu`` felt along its own axes, gravity included.

    Raises:
        ValueError: these are no numbers.
    """
    return _xyz(message.linear_acceleration)


def _content(message: Any) -> bytes:
    data = message.data
    return base64.b64decode(data, validate=True) if isinstance(data, str) else bytes(data)


def _frame(name: str) -> str:
    return name.lstrip("/")


def _xyz(vector: Any) -> tuple[float, ...]:
    return _numbers((vector.x, vector.y, vector.z), 3)


def _rigid(translation: Any, rotation: Any) -> tuple[float, ...]:
    quaternion = _numbers((rotation.w, rotation.x, rotation.y, rotation.z), 4)
    length = math.hypot(*quaternion)
    if abs(length - 1.0) > _ROTATION_TOLERANCE:
        raise ValueError(f"holds the quaternion {list(quaternion)} (w, x, y, z), which is no rotation")
    return (*_xyz(translation), *(value / length for value in quaternion))


def _numbers(values: Sequence[float], count: int) -> tuple[float, ...]:
    numbers = tuple(map(float, values))
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(f"holds {list(numbers[:12])}, where {count} finite numbers belong")
    return numbers


def _from_json(data: bytes) -> Any:
    return json.loads(data, object_hook=lambda content: SimpleNamespace(**content))
