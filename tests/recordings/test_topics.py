from __future__ import annotations

import re
from pathlib import Path

import pytest

from bevformer_lib.errors import ConfigError, RecordingError
from bevformer_lib.recordings.messages import Kind
from bevformer_lib.recordings.topics import (
    calibration_topic,
    image_topic,
    is_rectified,
    pose_topic,
    read_topics,
    shows_camera,
)

PATH = Path("drive.mcap")


@pytest.mark.parametrize(
    "topic",
    [
        "/CAM_FRONT_LEFT/image_rect_compressed",
        "/camera_front_left/image_raw",
        "/camera/front_left/image_raw",
        "/sensing/camera/front-left/image",
        "/front_left_camera/image",
    ],
)
def test_a_camera_is_found_by_the_names_that_the_field_gives_it(topic: str) -> None:
    assert shows_camera(topic, "CAM_FRONT_LEFT")
    assert not shows_camera(topic, "CAM_FRONT")
    assert shows_camera("/camera_rear/image_raw", "CAM_BACK")


def test_rectified_images_go_before_others_and_raw_ones_before_compressed_ones() -> None:
    found = {
        "/CAM_BACK/image_raw": Kind.RAW_IMAGE,
        "/CAM_BACK/image_raw/compressed": Kind.ENCODED_IMAGE,
        "/CAM_BACK/camera_info": Kind.CALIBRATION,
    }
    assert image_topic(PATH, "CAM_BACK", None, found) == "/CAM_BACK/image_raw"
    found["/CAM_BACK/image_rect/compressed"] = Kind.ENCODED_IMAGE
    assert image_topic(PATH, "CAM_BACK", None, found) == "/CAM_BACK/image_rect/compressed"
    assert calibration_topic(PATH, "CAM_BACK", None, "/CAM_BACK/image_raw", found) == "/CAM_BACK/camera_info"
    found["/other/CAM_BACK/image_rect"] = Kind.RAW_IMAGE
    found["/CAM_BACK/image_rect"] = Kind.RAW_IMAGE
    with pytest.raises(RecordingError, match="the images of CAM_BACK may be /other/CAM_BACK/image_rect or /CAM_BACK"):
        image_topic(PATH, "CAM_BACK", None, found)
    assert image_topic(PATH, "CAM_BACK", "/CAM_BACK/image_raw", found) == "/CAM_BACK/image_raw"


def test_names_with_rect_in_another_word_are_not_of_rectified_images() -> None:
    assert is_rectified("/CAM_BACK/image_rect_color") and is_rectified("/rectified/back")
    assert not is_rectified("/direct/CAM_BACK/image_raw") and not is_rectified("/CAM_BACK/image_unrectified")


def test_of_several_poses_none_is_guessed() -> None:
    found = {"/odom": Kind.POSE, "/wheels": Kind.POSE}
    assert pose_topic(PATH, None, found, {"/odom"}) == "/odom"
    assert pose_topic(PATH, None, found, ()) is None
    assert pose_topic(PATH, "tf", found, set(found)) is None
    with pytest.raises(RecordingError, match="the pose may be /odom or /wheels; name one"):
        pose_topic(PATH, None, found, set(found))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("camera: {}", "camera: Extra inputs are not permitted"),
        ("lidar_to_ego: [[1, 2], [3, 4]]", "lidar_to_ego: must be 4 rows of 4 numbers"),
        ("cameras: {CAM_BACK: {picture: /x}}", "cameras.CAM_BACK.picture: Extra inputs"),
        ("- a", "Input should be"),
        ("{", "is not valid YAML"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "topics.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_topics(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_a_file_may_tell_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "topics.yaml"
    path.write_text("")
    assert read_topics(path).pose is None
    path.write_text("pose: /odom\ncameras:\n  CAM_BACK: {image: /back}\nlidar_frame: top\n")
    assert read_topics(path).cameras["CAM_BACK"].image == "/back"


def test_the_file_that_the_page_shows_is_one(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "infer.md"
    [shown] = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "topics.yaml"
    path.write_text(shown)
    topics = read_topics(path)
    assert topics.lidar_to_ego is not None
    assert topics.lidar_to_ego[0] == [0, 1, 0, 0.94]
