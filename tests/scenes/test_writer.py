from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from bevformer_lib.scenes.reader import SceneRequirements, read_scenes
from bevformer_lib.scenes.writer import write_frame, write_scene_index
from tests.support.micro import micro_config
from tests.support.scenes import drive_can_bus, random_boxes, surround_lidar_to_image, write_scenes

HW = (96, 160)
POSE = np.array([[0.0, 1.0, 0.0, 0.94], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.84], [0.0, 0.0, 0.0, 1.0]])


def test_what_is_written_is_read_back(tmp_path: Path):
    rng = np.random.default_rng(1)
    images = list(rng.integers(0, 256, (6, *HW, 3), dtype=np.uint8))
    boxes = random_boxes(rng, 3)
    lidar_to_image, can_bus = surround_lidar_to_image(HW), drive_can_bus(1)[0]
    write_frame(
        tmp_path / "a",
        7,
        images,
        lidar_to_image=lidar_to_image,
        can_bus_absolute=can_bus,
        img_norm=micro_config().img_norm,
        scene_token="a",
        sample_token="a-7",
        timestamp_us=1_533_151_603_547_590,
        gt_boxes=boxes,
        bicycle_racks=boxes[:1],
        lidar_to_ego=POSE,
        ego_to_global=np.linalg.inv(POSE),
    )
    write_scene_index(tmp_path, {"a": [7]})
    (scene,) = read_scenes(tmp_path, SceneRequirements.of_model(micro_config()))
    (frame,) = scene.frames
    assert (scene.name, frame.index, frame.sample_token) == ("a", 7, "a-7")
    assert frame.timestamp_us == 1_533_151_603_547_590
    assert frame.gt_boxes == boxes
    np.testing.assert_array_equal(frame.lidar_to_image, lidar_to_image)
    np.testing.assert_array_equal(frame.can_bus_absolute, can_bus)
    assert frame.bicycle_racks == boxes[:1]
    np.testing.assert_array_equal(frame.lidar_to_ego, POSE)
    np.testing.assert_array_equal(frame.ego_to_global, np.linalg.inv(POSE))
    for reference, image in zip(frame.images, images, strict=True):
        np.testing.assert_array_equal(cv2.imread(str(reference.path)), image)


def test_meta_files_have_the_published_keys(tmp_path: Path):
    root = write_scenes(tmp_path, num_scenes=1, frames_per_scene=1, image_hw=(90, 160), gt_boxes=False)
    meta = json.loads((root / "scene-0000" / "meta_000000.json").read_text())
    assert set(meta) == {
        "scene_token",
        "sample_idx",
        "num_cams",
        "img_shape",
        "img_norm_cfg",
        "lidar2img",
        "can_bus",
        "timestamp",
    }
    assert meta["img_shape"] == [[96, 160, 3]] * 6, "img_shape is the size after padding"
    assert json.loads((root / "scene_index.json").read_text()) == {"scenes": {"scene-0000": {"samples": [0]}}}


def test_same_content_gives_same_bytes_and_leaves_no_temporary_files(tmp_path: Path):
    first, second = write_scenes(tmp_path / "one"), write_scenes(tmp_path / "zwei ü")
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(files) == 2 * 3 * 7 + 1
    assert files == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)
