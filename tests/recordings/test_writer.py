from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from bevformer_lib.errors import MissingPackageError, OutputError
from bevformer_lib.recordings.reader import RecordingOptions, read_recording
from bevformer_lib.recordings.topics import Topics
from bevformer_lib.recordings.writer import write_recordings
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Scene
from tests.support.micro import micro_config
from tests.support.scenes import Spelling, write_scenes

REQUIREMENTS = SceneRequirements.of_model(micro_config())


@pytest.mark.parametrize("spelling", ["cameras", "stacked"])
def test_a_scene_comes_back_as_it_was(spelling: Spelling, tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", frames_per_scene=3, spelling=spelling)
    scenes = read_scenes(tmp_path / "scenes", REQUIREMENTS)
    preprocessor = Preprocessor(REQUIREMENTS.image_hw, REQUIREMENTS.img_norm)
    for scene, path in zip(scenes, write_recordings(scenes, tmp_path / "recordings"), strict=True):
        [read] = read_recording(path, REQUIREMENTS, RecordingOptions(Topics(), 1.5))
        assert read.name == scene.name
        for frame, expected in zip(read.frames, scene.frames, strict=True):
            np.testing.assert_allclose(frame.lidar_to_image, expected.lidar_to_image, rtol=1e-13, atol=1e-12)
            np.testing.assert_allclose(frame.can_bus_absolute, expected.can_bus_absolute, rtol=1e-14, atol=1e-15)
            images = zip(preprocessor.load(frame), preprocessor.load(expected), strict=True)
            assert all(np.array_equal(image, other) for image, other in images)


def test_poses_and_times_that_a_scene_lacks_or_has(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", num_scenes=1, frames_per_scene=2)
    [scene] = read_scenes(tmp_path / "scenes", REQUIREMENTS)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(np.array((0.01, -0.02, 1.0)))[0], (600.0, 1600.0, 1.0)
    lidar = np.array([[0.0, 1.0, 0.0, 0.94], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.84], [0.0, 0.0, 0.0, 1.0]])
    frames = tuple(
        dataclasses.replace(frame, timestamp_us=None, ego_to_global=pose, lidar_to_ego=lidar) for frame in scene.frames
    )
    [path] = write_recordings([Scene("posed", frames)], tmp_path)
    [read] = read_recording(path, REQUIREMENTS, RecordingOptions(Topics(), 1.5))
    assert [frame.timestamp_us for frame in read.frames] == [1_000_000, 1_500_000]
    for frame in read.frames:
        assert frame.ego_to_global is not None
        assert frame.lidar_to_ego is not None
        np.testing.assert_allclose(frame.ego_to_global, pose, atol=1e-12)
        np.testing.assert_allclose(frame.lidar_to_ego, lidar, atol=1e-12)
    with pytest.raises(OutputError, match="is there already"):
        write_recordings([Scene("posed", frames)], tmp_path)


def test_other_software_reads_what_is_written(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", num_scenes=1, frames_per_scene=2)
    scenes = read_scenes(tmp_path / "scenes", REQUIREMENTS)
    [path] = write_recordings(scenes, tmp_path)
    with AnyReader([path]) as reader:
        messages = [(one.topic, reader.deserialize(data, one.msgtype)) for one, _, data in reader.messages()]
    assert len(messages) == 2 * (3 + 2 * 6)
    [odometry, *_] = [message for topic, message in messages if topic == "/odom"]
    assert (odometry.pose.pose.position.x, odometry.twist.twist.linear.x) == (600.0, 8.0)
    [image, *_] = [message for topic, message in messages if topic == "/CAM_BACK/image_rect_compressed"]
    assert bytes(image.data) == scenes[0].frames[0].images[3].path.read_bytes()


def test_without_the_packages_one_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcap_ros2.writer", None)
    with pytest.raises(MissingPackageError, match=r"pip install bevformer-axera\[mcap\]"):
        write_recordings([], tmp_path)
