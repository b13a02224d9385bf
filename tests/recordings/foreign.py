"""Recordings as other software writes them: rosbags (ROS 2) and Foxglove's libraries, none of them by our writer."""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from foxglove_schemas_protobuf.CameraCalibration_pb2 import CameraCalibration
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.FrameTransform_pb2 import FrameTransform
from foxglove_schemas_protobuf.PoseInFrame_pb2 import PoseInFrame
from google.protobuf.message import Message
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from mcap_protobuf.writer import Writer as ProtobufWriter
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from bevformer_lib.geometry.camera_pose import placed_camera
from bevformer_lib.names import CAMERA_ORDER
from bevformer_lib.scenes.types import Frame, Scene

ROS = get_typestore(Stores.ROS2_JAZZY)
LIDAR_IN_EGO = (0.94, 0.0, 1.84)
"""Metres; the LiDAR's axes are turned by -90 degrees, as nuScenes has it."""
HALF = math.sqrt(0.5)


def ego_quaternion(frame: Frame) -> tuple[float, float, float, float]:
    """Return w, x, y, z of a level car, w not negative."""
    half_rad = float(frame.can_bus_absolute[16]) / 2
    sign = 1.0 if math.cos(half_rad) >= 0 else -1.0
    return sign * math.cos(half_rad), 0.0, 0.0, sign * math.sin(half_rad)


def camera_in_ego(projection: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rotation (3, 3) and the position of a camera on a car whose LiDAR is at ``LIDAR_IN_EGO``."""
    camera, turn = placed_camera(projection), np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    return turn @ camera.rotation, turn @ camera.position_m + LIDAR_IN_EGO


def quaternion(rotation: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return w, x, y, z by way of the rotation vector."""
    vector = cv2.Rodrigues(rotation)[0].ravel()
    angle = float(np.linalg.norm(vector))
    axis = vector / angle if angle else vector
    x, y, z = (axis * math.sin(angle / 2)).tolist()
    return math.cos(angle / 2), x, y, z


def write_ros2_bag(folder: Path, scene: Scene, *, without: Sequence[str] = (), pose: str = "odometry") -> Path:
    """Write a bag as a driver stack records it, and return its .mcap file.

    The front camera is raw bgr8, the one at the back raw rgb8 with padded rows, the others are PNGs; ``/tf_static``
    comes once.

    Args:
        folder: of the bag.
        scene: what was seen.
        without: topics and frames that are left out.
        pose: ``odometry`` or ``stamped``: type of the pose's topic.
    """
    types = ROS.types
    time_type, header_type = types["builtin_interfaces/msg/Time"], types["std_msgs/msg/Header"]

    def header(stamp_ns: int, frame_id: str) -> Any:
        return header_type(stamp=time_type(*divmod(stamp_ns, 10**9)), frame_id=frame_id)

    def vector(name: str, values: Sequence[float] | NDArray[Any]) -> Any:
        return types[f"geometry_msgs/msg/{name}"](*map(float, values))

    def rotation(values: Sequence[float]) -> Any:
        w, x, y, z = values
        return types["geometry_msgs/msg/Quaternion"](x, y, z, w)

    def transform(child: str, translation: Sequence[float] | NDArray[Any], turned: Sequence[float]) -> Any:
        inner = types["geometry_msgs/msg/Transform"](vector("Vector3", translation), rotation(turned))
        return types["geometry_msgs/msg/TransformStamped"](header(0, "base_link"), child, inner)

    def messages() -> Iterator[tuple[str, str, int, Any]]:
        static = [transform("lidar_top", LIDAR_IN_EGO, (HALF, 0.0, 0.0, -HALF))]
        for name, projection in zip(CAMERA_ORDER, scene.frames[0].lidar_to_image, strict=True):
            turned, position = camera_in_ego(projection)
            static.append(transform(f"{name.lower()}_optical", position, quaternion(turned)))
        kept = [one for one in static if one.child_frame_id not in without]
        first_ns = (scene.frames[0].timestamp_us or 0) * 1000
        yield "/tf_static", "tf2_msgs/msg/TFMessage", first_ns, types["tf2_msgs/msg/TFMessage"](kept)
        for frame in scene.frames:
            stamp_ns = (frame.timestamp_us or 0) * 1000
            where = types["geometry_msgs/msg/Pose"](
                vector("Point", frame.can_bus_absolute[:3]), rotation(ego_quaternion(frame))
            )
            if pose == "stamped":
                stamped = types["geometry_msgs/msg/PoseStamped"](header(stamp_ns, "map"), where)
                yield "/localization/pose", "geometry_msgs/msg/PoseStamped", stamp_ns, stamped
            else:
                twist = types["geometry_msgs/msg/Twist"](vector("Vector3", (8, 0, 0)), vector("Vector3", (0, 0, 0.1)))
                odometry = types["nav_msgs/msg/Odometry"](
                    header(stamp_ns, "odom"),
                    "base_link",
                    types["geometry_msgs/msg/PoseWithCovariance"](where, np.zeros(36)),
                    types["geometry_msgs/msg/TwistWithCovariance"](twist, np.zeros(36)),
                )
                yield "/localization/odometry", "nav_msgs/msg/Odometry", stamp_ns, odometry
            for name, image, projection in zip(CAMERA_ORDER, frame.images, frame.lidar_to_image, strict=True):
                yield from camera_messages(name, image.path, projection, stamp_ns)

    def camera_messages(
        name: str, image: Path, projection: NDArray[np.float64], stamp_ns: int
    ) -> Iterator[tuple[str, str, int, Any]]:
        topic = f"/sensing/{name.lower().replace('cam_', 'camera_')}"
        told = header(stamp_ns, f"{name.lower()}_optical")
        pixels = cv2.imread(str(image))
        height, width = pixels.shape[:2]
        k, region = placed_camera(projection).intrinsics, types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        yield f"{topic}/camera_info", "sensor_msgs/msg/CameraInfo", stamp_ns, types["sensor_msgs/msg/CameraInfo"](
            told, height, width, "plumb_bob", np.zeros(5), k.ravel(), np.eye(3).ravel(),
            np.hstack([k, np.zeros((3, 1))]).ravel(), 0, 0, region,
        )  # fmt: skip
        if name in ("CAM_FRONT", "CAM_BACK"):
            encoding, padding = ("bgr8", 0) if name == "CAM_FRONT" else ("rgb8", 4)
            rows = (pixels if encoding == "bgr8" else pixels[..., ::-1]).reshape(height, -1)
            data = np.pad(rows, ((0, 0), (0, padding))).ravel()
            raw = types["sensor_msgs/msg/Image"](told, height, width, encoding, 0, width * 3 + padding, data)
            yield f"{topic}/image_rect", "sensor_msgs/msg/Image", stamp_ns, raw
        else:
            content = np.frombuffer(image.read_bytes(), np.uint8)
            compressed = types["sensor_msgs/msg/CompressedImage"](told, "bgr8; png compressed bgr8", content)
            yield f"{topic}/image_rect/compressed", "sensor_msgs/msg/CompressedImage", stamp_ns, compressed

    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        connections: dict[str, Any] = {}
        for topic, kind, stamp_ns, message in messages():
            if topic in without:
                continue
            if topic not in connections:
                connections[topic] = bag.add_connection(topic, kind, typestore=ROS)
            bag.write(connections[topic], stamp_ns + 1_000_000, ROS.serialize_cdr(message, kind))
    [path] = folder.glob("*.mcap")
    return path


def foxglove_messages(scene: Scene, *, delays_ms: Sequence[int] = (0,) * 6) -> Iterator[tuple[str, int, Message]]:
    """Yield what nuscenes2mcap writes of a scene, with its topics: ``/pose`` is where the car is in its own frame.

    Args:
        scene: what was seen.
        delays_ms: per camera, how long after the frame its image is said to be taken.
    """

    def transform(stamp_ns: int, parent: str, child: str, xyz: Sequence[float], wxyz: Sequence[float]) -> Message:
        message = FrameTransform(parent_frame_id=parent, child_frame_id=child)
        message.timestamp.FromNanoseconds(stamp_ns)
        message.translation.x, message.translation.y, message.translation.z = map(float, xyz)
        for field, value in zip("wxyz", wxyz, strict=True):
            setattr(message.rotation, field, float(value))
        return message

    for frame in scene.frames:
        stamp_ns = (frame.timestamp_us or 0) * 1000
        yield (
            "/tf",
            stamp_ns,
            transform(stamp_ns, "map", "base_link", frame.can_bus_absolute[:3], ego_quaternion(frame)),
        )
        yield "/tf", stamp_ns, transform(stamp_ns, "base_link", "LIDAR_TOP", LIDAR_IN_EGO, (HALF, 0, 0, -HALF))
        cameras = zip(CAMERA_ORDER, frame.images, frame.lidar_to_image, delays_ms, strict=True)
        for name, image, projection, delay_ms in cameras:
            turned, position = camera_in_ego(projection)
            taken_ns = stamp_ns + delay_ms * 1_000_000
            yield "/tf", stamp_ns, transform(taken_ns, "base_link", name, position, quaternion(turned))
            stored = CompressedImage(frame_id=name, format="png", data=image.path.read_bytes())
            stored.timestamp.FromNanoseconds(taken_ns)
            yield f"/{name}/image_rect_compressed", stamp_ns, stored
            height, width = cv2.imread(str(image.path)).shape[:2]
            camera = CameraCalibration(frame_id=name, height=height, width=width)
            camera.timestamp.FromNanoseconds(taken_ns)
            k = placed_camera(projection).intrinsics
            camera.K[:], camera.R[:] = k.ravel().tolist(), np.eye(3).ravel().tolist()
            camera.P[:] = np.hstack([k, np.zeros((3, 1))]).ravel().tolist()
            yield f"/{name}/camera_info", stamp_ns, camera
        pose = PoseInFrame(frame_id="base_link")
        pose.timestamp.FromNanoseconds(stamp_ns)
        pose.pose.orientation.w = 1
        yield "/pose", stamp_ns, pose


def write_foxglove_protobuf(
    path: Path,
    scene: Scene,
    *,
    compression: CompressionType = CompressionType.LZ4,
    change: Callable[[str, Any, int], None] | None = None,
    **more: Any,
) -> Path:
    """Write a recording as nuscenes2mcap does; ``change`` may change each message, and is told how many were before."""
    counts: Counter[str] = Counter()
    with path.open("wb") as stream, ProtobufWriter(stream, compression=compression) as writer:
        for topic, stamp_ns, message in foxglove_messages(scene, **more):
            if change is not None:
                child = getattr(message, "child_frame_id", "")
                change(topic, message, counts[topic + child])
                counts[topic + child] += 1
            writer.write_message(topic, message, stamp_ns, stamp_ns)
    return path


def write_foxglove_json(
    path: Path, scene: Scene, *, chunked: bool = True, indexed: bool = True, renamed: Mapping[str, str] | None = None
) -> Path:
    """Write the same in JSON, as Foxglove's JSON schemas have it; also without chunks or without any index."""
    options: dict[str, Any] = {"use_chunking": chunked}
    if not indexed:
        from mcap.writer import IndexType

        options |= {"index_types": IndexType.NONE, "use_statistics": False, "use_summary_offsets": False}
        options |= {"repeat_channels": False, "repeat_schemas": False}
    with path.open("wb") as stream:
        writer = McapWriter(stream, **options)
        writer.start(profile="", library="test")
        channels: dict[str, int] = {}
        for topic, stamp_ns, message in foxglove_messages(scene):
            if topic not in channels:
                name = (renamed or {}).get(message.DESCRIPTOR.full_name, message.DESCRIPTOR.full_name)
                schema = writer.register_schema(name, "jsonschema", b'{"type": "object"}')
                channels[topic] = writer.register_channel(topic, "json", schema)
            writer.add_message(channels[topic], stamp_ns, json.dumps(plain(message)).encode(), stamp_ns)
        writer.finish()
    return path


def plain(message: Any) -> Any:
    """Return a message as Foxglove's JSON schemas have it: bytes in base64, times as sec and nsec."""
    if message.DESCRIPTOR.full_name == "google.protobuf.Timestamp":
        return {"sec": message.seconds, "nsec": message.nanos}
    content = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if isinstance(value, bytes):
            value = base64.b64encode(value).decode()
        elif field.message_type is not None:
            value = plain(value)
        elif not isinstance(value, str | int | float):
            value = list(value)
        content[field.name] = value
    return content
