from __future__ import annotations

import builtins
import dataclasses
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.detections.geometry import box_corners_lidar_m, ground_truth_as_detection_boxes
from bevformer_lib.detections.types import Detections
from bevformer_lib.errors import MissingPackageError, OutputError
from bevformer_lib.names import CAMERA_ORDER, CAN_BUS_POSITION, CAN_BUS_YAW_RAD
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Scene
from bevformer_lib.viewer.export import ANNOTATIONS, CAR, DETECTIONS, DRIVE, VELOCITIES, camera_path, export_scene
from tests.evaluate.examples import random_detections
from tests.support.micro import CLASS_NAMES, micro_config
from tests.support.scenes import write_scenes

rerun = pytest.importorskip("rerun", reason="the viewer's package is not installed: pip install rerun-sdk")

FRAMES = 3


class Recording:
    """What a file holds, read back by rerun itself: rows by entity and component."""

    def __init__(self, path: Path) -> None:
        from rerun.chunk import RrdReader

        self.rows: dict[str, dict[str, dict[int | None, Any]]] = {}
        for chunk in RrdReader(path).stream().to_chunks():
            batch = chunk.to_record_batch()
            names = [name for name in batch.schema.names if ":" in name]
            columns = {name: batch.column(name).to_pylist() for name in names}
            timed = "frame" in batch.schema.names
            numbers = batch.column("frame").to_pylist() if timed else [None] * batch.num_rows
            entity = self.rows.setdefault(str(chunk.entity_path).strip("/"), {})
            for name, values in columns.items():
                for number, value in zip(numbers, values, strict=True):
                    if value is not None:
                        entity.setdefault(name.split(":")[-1], {})[number] = value


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    return micro_config()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, config: ModelConfig) -> Scene:
    root = write_scenes(tmp_path_factory.mktemp("scènes"), num_scenes=1, frames_per_scene=FRAMES)
    return read_scenes(root, SceneRequirements.of_model(config))[0]


@pytest.fixture(scope="module")
def detections() -> list[Detections]:
    random = np.random.default_rng(3)
    return [random_detections(random, count) for count in (5, 0, 2)]


@pytest.fixture(scope="module")
def recording(
    tmp_path_factory: pytest.TempPathFactory, scene: Scene, config: ModelConfig, detections: list[Detections]
) -> Recording:
    path = tmp_path_factory.mktemp("out") / "scene.rrd"
    export_scene(scene, Preprocessor(config.image_hw, config.img_norm), detections, CLASS_NAMES, path)
    return Recording(path)


def matrix_of(values: Any) -> np.ndarray:
    """3 x 3 from rerun's column-major nine numbers."""
    return np.array(values, dtype=np.float64).reshape(3, 3).T


def test_every_frame_has_everything(recording: Recording, scene: Scene) -> None:
    numbers = {frame.index for frame in scene.frames}
    for entity in (CAR, DETECTIONS, VELOCITIES, ANNOTATIONS, *map(camera_path, CAMERA_ORDER)):
        found = recording.rows[entity]
        assert set().union(*(rows.keys() for rows in found.values())) == numbers, entity
    assert set(recording.rows[DRIVE]["strips"]) == {None}


def test_images_are_those_of_the_cameras(recording: Recording, scene: Scene, config: ModelConfig) -> None:
    frame = scene.frames[1]
    stored = Preprocessor(config.image_hw, config.img_norm).images(frame)
    for name, expected in zip(CAMERA_ORDER, stored, strict=True):
        [blob] = recording.rows[camera_path(name)]["blob"][frame.index]
        image = cv2.imdecode(np.array(blob, dtype=np.uint8), cv2.IMREAD_COLOR)
        assert image is not None and image.shape == expected.shape
        assert abs(image.mean() - expected.mean()) < 3


def test_boxes_land_on_the_pixels_that_the_scene_says(
    recording: Recording, scene: Scene, detections: list[Detections]
) -> None:
    """From the recording alone: box, camera pose and pinhole give the same pixels as lidar_to_image."""
    for frame, boxes in (
        (scene.frames[0], detections[0].boxes),
        (scene.frames[0], ground_truth_as_detection_boxes(scene.frames[0].gt_boxes or ())),
    ):
        entity = DETECTIONS if boxes is detections[0].boxes else ANNOTATIONS
        rows = {name: values[frame.index] for name, values in recording.rows[entity].items()}
        corners = logged_corners(rows)
        expected = box_corners_lidar_m(boxes)
        for one, other in zip(corners, expected, strict=True):
            distances = np.linalg.norm(one[:, None] - other[None], axis=-1)
            assert distances.min(axis=1).max() < 1e-4
        for name, lidar_to_image in zip(CAMERA_ORDER, frame.lidar_to_image, strict=True):
            camera = {key: values[frame.index] for key, values in recording.rows[camera_path(name)].items()}
            [intrinsics], [rotation], [position] = camera["image_from_camera"], camera["mat3x3"], camera["translation"]
            pixels = (expected - np.array(position)) @ matrix_of(rotation) @ matrix_of(intrinsics).T
            homogeneous = expected @ lidar_to_image[:3, :3].T + lidar_to_image[:3, 3]
            ahead = homogeneous[..., 2] > 1
            np.testing.assert_allclose(
                (pixels[..., :2] / pixels[..., 2:])[ahead],
                (homogeneous[..., :2] / homogeneous[..., 2:])[ahead],
                atol=0.05,
            )


def logged_corners(rows: dict[str, Any]) -> np.ndarray:
    centers, half = np.array(rows["centers"]), np.array(rows["half_sizes"])
    quaternions = np.array(rows["quaternions"])
    turns = 2 * np.arctan2(quaternions[:, 2], quaternions[:, 3])
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    local = signs * half[:, None]
    cos, sin = np.cos(turns)[:, None], np.sin(turns)[:, None]
    turned = np.stack(
        [cos * local[..., 0] - sin * local[..., 1], sin * local[..., 0] + cos * local[..., 1], local[..., 2]], axis=-1
    )
    return turned + centers[:, None]


def test_labels_name_class_and_score(recording: Recording, scene: Scene, detections: list[Detections]) -> None:
    labels = recording.rows[DETECTIONS]["labels"][scene.frames[0].index]
    first = detections[0]
    assert labels[0] == f"{CLASS_NAMES[first.labels[0]].replace('_', ' ')} {first.scores[0]:.2f}"
    assert len(labels) == 5
    # A frame without detections clears those of the frame before.
    assert recording.rows[DETECTIONS]["labels"][scene.frames[1].index] == []


def test_the_car_drives_as_can_bus_says(recording: Recording, scene: Scene) -> None:
    rows = recording.rows[CAR]
    start = scene.frames[0].can_bus_absolute
    for frame in scene.frames:
        [position] = rows["translation"][frame.index]
        np.testing.assert_allclose(
            position, frame.can_bus_absolute[CAN_BUS_POSITION] - start[CAN_BUS_POSITION], atol=1e-3
        )
        [rotation] = rows["mat3x3"][frame.index]
        forward = matrix_of(rotation)[:2, 1]
        yaw = frame.can_bus_absolute[CAN_BUS_YAW_RAD]
        np.testing.assert_allclose(forward, [np.cos(yaw), np.sin(yaw)], atol=1e-5)


def test_an_existing_file_is_kept(tmp_path: Path, scene: Scene, config: ModelConfig) -> None:
    path = tmp_path / "scene.rrd"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        export_scene(scene, Preprocessor(config.image_hw, config.img_norm), None, CLASS_NAMES, path)
    assert path.read_text() == "mine"


def test_an_interrupted_export_leaves_nothing(tmp_path: Path, scene: Scene, config: ModelConfig) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_scene(
            scene,
            Preprocessor(config.image_hw, config.img_norm),
            None,
            CLASS_NAMES,
            tmp_path / "scene.rrd",
            on_progress=interrupt,
        )
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_it_says_what_to_install(
    tmp_path: Path, scene: Scene, config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "rerun":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments, **options)

    for name in [name for name in sys.modules if name.partition(".")[0] == "rerun"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingPackageError, match=r"pip install bevformer-axera\[viewer\]"):
        export_scene(scene, Preprocessor(config.image_hw, config.img_norm), None, CLASS_NAMES, tmp_path / "a.rrd")


def test_scenes_with_poses_are_placed_by_them(tmp_path: Path, scene: Scene, config: ModelConfig) -> None:
    mounted, pose = np.eye(4), np.eye(4)
    mounted[:3, 3] = 0.94, 0.0, 1.84
    pose[:3, 3] = scene.frames[0].can_bus_absolute[CAN_BUS_POSITION] + (3.0, -2.0, 0.5)
    frames = tuple(dataclasses.replace(frame, lidar_to_ego=mounted, ego_to_global=pose) for frame in scene.frames)
    path = tmp_path / "scene.rrd"
    posed = dataclasses.replace(scene, frames=frames)
    export_scene(posed, Preprocessor(config.image_hw, config.img_norm), None, CLASS_NAMES, path)
    [position] = Recording(path).rows[CAR]["translation"][frames[0].index]
    np.testing.assert_allclose(position, (3.94, -2.0, 2.34), atol=1e-3)
