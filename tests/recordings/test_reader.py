from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mcap.writer import CompressionType

from bevformer_lib.errors import MissingPackageError, RecordingError
from bevformer_lib.recordings.reader import RecordingOptions, read_recording
from bevformer_lib.recordings.topics import Topics
from bevformer_lib.scenes.ego import can_bus_of_pose
from bevformer_lib.scenes.fingerprint import scene_fingerprint
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Scene
from tests.recordings.foreign import ego_quaternion, write_foxglove_json, write_foxglove_protobuf, write_ros2_bag
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes

REQUIREMENTS = SceneRequirements.of_model(micro_config())


def options(content: dict[str, Any] | None = None, **more: Any) -> RecordingOptions:
    return RecordingOptions(Topics.model_validate(content or {}), longest_gap_s=1.5, **more)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    root = write_scenes(tmp_path_factory.mktemp("scenes"), num_scenes=1, frames_per_scene=3)
    [scene] = read_scenes(root, REQUIREMENTS)
    return scene


WRITERS: dict[str, Callable[[Path, Scene], Path]] = {
    "ROS 2, raw and compressed, odometry": lambda folder, scene: write_ros2_bag(folder / "bag", scene),
    "ROS 2, PoseStamped": lambda folder, scene: write_ros2_bag(folder / "bag", scene, pose="stamped"),
    "protobuf, lz4": lambda folder, scene: write_foxglove_protobuf(folder / "drive.mcap", scene),
    "protobuf, zstd": lambda folder, scene: write_foxglove_protobuf(
        folder / "drive.mcap", scene, compression=CompressionType.ZSTD
    ),
    "protobuf, not compressed": lambda folder, scene: write_foxglove_protobuf(
        folder / "drive.mcap", scene, compression=CompressionType.NONE
    ),
    "JSON": lambda folder, scene: write_foxglove_json(folder / "drive.mcap", scene),
    "JSON, no chunks": lambda folder, scene: write_foxglove_json(folder / "drive.mcap", scene, chunked=False),
    "JSON, no index": lambda folder, scene: write_foxglove_json(folder / "drive.mcap", scene, indexed=False),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_recordings_of_other_software_hold_the_scene(writer: str, scene: Scene, tmp_path: Path) -> None:
    path = WRITERS[writer](tmp_path, scene)
    [read] = read_recording(path, REQUIREMENTS, options())
    assert read.name == path.stem
    assert [frame.timestamp_us for frame in read.frames] == [frame.timestamp_us for frame in scene.frames]
    preprocessor = Preprocessor(REQUIREMENTS.image_hw, REQUIREMENTS.img_norm)
    for frame, expected in zip(read.frames, scene.frames, strict=True):
        np.testing.assert_allclose(frame.lidar_to_image, expected.lidar_to_image, rtol=1e-12, atol=1e-9)
        given = [0, 1, 2, 16, 17]
        np.testing.assert_allclose(frame.can_bus_absolute[given], expected.can_bus_absolute[given], rtol=1e-13)
        assert frame.ego_to_global is not None
        if "odometry" in writer:
            assert frame.can_bus_absolute[7:16].tolist() == [0, 0, 0, 0, 0, 0.1, 8, 0, 0]
        else:
            np.testing.assert_allclose(frame.can_bus_absolute, can_bus_of_pose(frame.ego_to_global), rtol=1e-13)
        images = zip(preprocessor.load(frame), preprocessor.load(expected), strict=True)
        assert all(np.array_equal(image, other) for image, other in images)
        assert str(frame.meta_path).startswith(f"{path}/15000000")
    assert scene_fingerprint(read) != scene_fingerprint(Scene(read.name, read.frames[:2]))


def test_cameras_that_take_their_images_later_see_from_where_the_car_is_then(scene: Scene, tmp_path: Path) -> None:
    path = write_foxglove_protobuf(tmp_path / "drive.mcap", scene, delays_ms=(0, 0, 0, 40, 0, 0))
    [read] = read_recording(path, REQUIREMENTS, options())
    for frame, expected, after in zip(read.frames, scene.frames, scene.frames[1:], strict=False):
        np.testing.assert_allclose(frame.lidar_to_image[:3], expected.lidar_to_image[:3], rtol=1e-12, atol=1e-9)
        # What the camera at the back sees of a point that stands still: where it is from the car 40 ms later.
        way = (after.can_bus_absolute - expected.can_bus_absolute)[:2] * (40 / 500)
        yaw = expected.can_bus_absolute[16]
        turned = math.radians((after.can_bus_absolute[17] - expected.can_bus_absolute[17] + 180) % 360 - 180) * 40 / 500
        ahead = way @ (math.cos(yaw), math.sin(yaw))
        ego = np.array([-20.0 - 0.94, 1.0, -1.0 - 1.84])  # as nuScenes' car has its LiDAR; seen from the LiDAR below
        moved = ego - (ahead, 0.0, 0.0)
        c, s = math.cos(-turned), math.sin(-turned)
        moved[:2] = c * moved[0] - s * moved[1], s * moved[0] + c * moved[1]

        def lidar(point: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            x, y, z = point - (0.94, 0.0, 1.84)
            return np.array([-y, x, z, 1.0])

        seen, known = frame.lidar_to_image[3] @ lidar(ego), expected.lidar_to_image[3] @ lidar(moved)
        np.testing.assert_allclose(seen[:2] / seen[2], known[:2] / known[2], atol=0.02)
        assert np.abs(frame.lidar_to_image[3] - expected.lidar_to_image[3]).max() > 1.0
    with pytest.raises(RecordingError, match=r"holds no frame with 6 cameras.*3 lack CAM_BACK.*--tolerance"):
        read_recording(path, REQUIREMENTS, options(tolerance_s=0.03))


def test_the_folder_of_a_bag_may_be_named(scene: Scene, tmp_path: Path) -> None:
    path = write_ros2_bag(tmp_path / "bag", scene)
    [read] = read_recording(path.parent, REQUIREMENTS, options())
    assert read.name == path.stem
    with pytest.raises(RecordingError, match=r"is a folder with 0 \.mcap files"):
        read_recording(tmp_path, REQUIREMENTS, options())


def test_a_gap_begins_a_new_scene(scene: Scene, tmp_path: Path) -> None:
    path = write_foxglove_protobuf(tmp_path / "drive.mcap", Scene("gap", scene.frames))
    read = read_recording(path, REQUIREMENTS, RecordingOptions(Topics(), longest_gap_s=0.4))
    assert [(one.name, len(one.frames)) for one in read] == [("drive-0000", 1), ("drive-0001", 1), ("drive-0002", 1)]
    [every_second] = read_recording(path, REQUIREMENTS, options(interval_s=1.0))
    assert [frame.timestamp_us for frame in every_second.frames] == [scene.frames[n].timestamp_us for n in (0, 2)]


def test_larger_images_are_scaled_with_their_projections(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", num_scenes=1, frames_per_scene=1, image_hw=(192, 320))
    large = SceneRequirements(6, (192, 320), REQUIREMENTS.img_norm)
    [scene] = read_scenes(root, large)
    [read] = read_recording(write_foxglove_protobuf(tmp_path / "drive.mcap", scene), REQUIREMENTS, options())
    projection, full = read.frames[0].lidar_to_image, scene.frames[0].lidar_to_image
    np.testing.assert_allclose(projection[:, :2] * 2, full[:, :2], atol=1e-9)
    images = Preprocessor(REQUIREMENTS.image_hw, REQUIREMENTS.img_norm).load(read.frames[0])
    assert {image.shape for image in images} == {(96, 160, 3)}


@pytest.mark.parametrize(
    ("without", "content", "said"),
    [
        (
            ["/sensing/camera_back/image_rect"],
            {},
            "no topic with the images of CAM_BACK; name it in a file for --topics",
        ),
        (["/sensing/camera_back/camera_info"], {}, "no topic with the calibration of CAM_BACK"),
        (["/localization/odometry"], {}, "tells no pose of the car"),
        (["lidar_top"], {}, "which frame is the LiDAR's can't be told"),
        (["cam_front_optical"], {}, "no transforms lead from frame lidar_top to frame cam_front_optical"),
        (["/tf_static"], {"lidar_frame": "lidar"}, "no transforms lead from frame lidar to frame cam_front_optical"),
        ([], {"lidar_frame": "base_link"}, "CAM_FRONT looks along (1.00, "),
        (
            [],
            {"pose": "/odom"},
            "has no pose under the topic /odom, which --topics names; it has /localization/odometry",
        ),
        ([], {"imu": "/imu"}, "has no IMU under the topic /imu"),
        ([], {"cameras": {"CAM_BACK": {"image": "/back"}}}, "has no image under the topic /back"),
        ([], {"cameras": {"CAM_TOP": {}}}, "--topics names the cameras CAM_TOP; the model's are CAM_FRONT"),
    ],
)
def test_what_is_missing_is_one_clear_error(
    without: list[str], content: dict[str, Any], said: str, scene: Scene, tmp_path: Path
) -> None:
    path = write_ros2_bag(tmp_path / "bag", scene, without=without)
    with pytest.raises(RecordingError) as caught:
        read_recording(path, REQUIREMENTS, options(content))
    assert said in str(caught.value)
    assert str(path) in str(caught.value) or "CAM_TOP" in said


def test_what_the_user_tells_takes_the_place_of_what_is_found(scene: Scene, tmp_path: Path) -> None:
    path = write_ros2_bag(tmp_path / "bag", scene, without=["lidar_top"])
    told = {
        "lidar_to_ego": [[0.0, 1.0, 0.0, 0.94], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.84], [0.0, 0.0, 0.0, 1.0]],
        "ego_frame": "base_link",
        "pose": "/localization/odometry",
        "cameras": {"CAM_FRONT": {"image": "/sensing/camera_front/image_rect"}},
    }
    [read] = read_recording(path, REQUIREMENTS, options(told))
    np.testing.assert_allclose(read.frames[0].lidar_to_image, scene.frames[0].lidar_to_image, rtol=1e-12, atol=1e-9)
    told["ego_frame"] = "cam_back_optical"
    with pytest.raises(RecordingError, match="odometry tells where frame base_link is, and --topics names cam_back_op"):
        read_recording(path, REQUIREMENTS, options(told))


def test_a_lidar_whose_x_axis_points_ahead_is_refused_with_what_to_give_instead(scene: Scene, tmp_path: Path) -> None:
    def ros(topic: str, message: Any, count: int) -> None:
        if topic == "/tf" and message.child_frame_id == "LIDAR_TOP":
            message.rotation.w, message.rotation.z = 1.0, 0.0

    path = write_foxglove_protobuf(tmp_path / "drive.mcap", scene, change=ros)
    with pytest.raises(RecordingError, match=r"CAM_FRONT looks along \(1.00, ") as caught:
        read_recording(path, REQUIREMENTS, options())
    given = yaml.safe_load(str(caught.value)[str(caught.value).index("lidar_to_ego") :])
    [read] = read_recording(path, REQUIREMENTS, options(given))
    np.testing.assert_allclose(read.frames[0].lidar_to_image, scene.frames[0].lidar_to_image, rtol=1e-12, atol=1e-9)


def test_images_of_another_size_are_refused(scene: Scene, tmp_path: Path) -> None:
    path = write_foxglove_protobuf(tmp_path / "drive.mcap", scene)
    with pytest.raises(RecordingError, match=r"holds images of 96 x 160 pixels .* the model takes 480 x 800"):
        read_recording(path, SceneRequirements(6, (480, 800), REQUIREMENTS.img_norm), options())


def test_a_recording_that_changed_is_told(scene: Scene, tmp_path: Path) -> None:
    path = write_foxglove_protobuf(tmp_path / "drive.mcap", scene)
    [read] = read_recording(path, REQUIREMENTS, options())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RecordingError, match=r"is cut off|is not as it was"):
        Preprocessor(REQUIREMENTS.image_hw, REQUIREMENTS.img_norm).load(read.frames[1])


def test_messages_that_tell_nonsense_are_left_out_and_told(
    scene: Scene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def damaged(topic: str, message: Any, count: int) -> None:
        if topic == "/CAM_BACK/image_rect_compressed" and count == 1:
            message.data = message.data[:50]
        if topic == "/tf" and message.child_frame_id == "base_link" and count == 1:
            message.rotation.w = message.rotation.z = 0.0

    path = write_foxglove_protobuf(tmp_path / "drive.mcap", scene, change=damaged)
    [read] = read_recording(path, REQUIREMENTS, options())
    assert [frame.timestamp_us for frame in read.frames] == [scene.frames[n].timestamp_us for n in (0, 2)]
    assert "/CAM_BACK/image_rect_compressed is truncated" in caplog.text
    assert "(1 message left out)" in caplog.text
    assert "frames that are left out, of CAM_FRONT: 1 lack CAM_BACK" in caplog.text

    def all_damaged(topic: str, message: Any, count: int) -> None:
        if topic == "/CAM_BACK/image_rect_compressed":
            message.data = b"GIF89a"

    with pytest.raises(RecordingError, match="topic /CAM_BACK/image_rect_compressed is neither PNG nor JPEG"):
        read_recording(write_foxglove_protobuf(path, scene, change=all_damaged), REQUIREMENTS, options())


def test_types_that_are_not_read_are_named(scene: Scene, tmp_path: Path) -> None:
    path = write_foxglove_json(tmp_path / "drive.mcap", scene, renamed={"foxglove.CompressedImage": "h264.Video"})
    with pytest.raises(RecordingError, match=r"images of CAM_FRONT; .* /CAM_BACK/image_rect_compressed \(h264.Video, "):
        read_recording(path, REQUIREMENTS, options())


def test_a_pose_is_enough_where_the_car_has_no_frame_of_its_own(scene: Scene, tmp_path: Path) -> None:
    def without_base(topic: str, message: Any, count: int) -> None:
        if topic == "/pose":
            frame = scene.frames[count]
            message.frame_id = "map"
            message.pose.orientation.w, _, _, message.pose.orientation.z = ego_quaternion(frame)
            message.pose.position.x, message.pose.position.y = frame.can_bus_absolute[:2].tolist()
        if topic == "/tf":
            message.parent_frame_id = {"map": "earth", "base_link": "mast"}[message.parent_frame_id]
            message.child_frame_id = message.child_frame_id.replace("base_link", "antenna")

    path = write_foxglove_protobuf(tmp_path / "drive.mcap", scene, change=without_base)
    [read] = read_recording(path, REQUIREMENTS, options())
    for frame, expected in zip(read.frames, scene.frames, strict=True):
        np.testing.assert_allclose(frame.can_bus_absolute[16], expected.can_bus_absolute[16], rtol=1e-12)
        np.testing.assert_allclose(frame.lidar_to_image, expected.lidar_to_image, rtol=1e-12, atol=1e-9)
        assert frame.lidar_to_ego is None


def test_without_the_packages_one_error_says_what_to_install(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_foxglove_protobuf(tmp_path / "drive.mcap", scene)
    for module in ("mcap_protobuf.decoder", "mcap.records"):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingPackageError, match=r"pip install bevformer-axera\[mcap\]"):
            read_recording(path, REQUIREMENTS, options())
