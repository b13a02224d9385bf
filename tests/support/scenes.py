"""Small synthetic scene folders for tests: noise images, but a plausible camera calibration and a plausible drive."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.model_config import ImageNormConfig
from bevformer_lib.scenes.layout import camera_image_name, plain_image_name
from bevformer_lib.scenes.types import GroundTruthBox
from bevformer_lib.scenes.writer import write_frame, write_png, write_scene_index
from tests.support.micro import CLASS_NAMES, micro_config

Spelling = Literal["cameras", "stacked", "numbered"]

HEADINGS_DEG = (0.0, -55.0, 55.0, 180.0, 110.0, -110.0)
"""Of the six cameras in the published order: counter-clockwise from the LiDAR's y axis (forward)."""
FOCAL_PER_WIDTH = (0.79, 0.79, 0.79, 0.506, 0.79, 0.79)
FRAME_SECONDS = 0.5
SPEED_MPS = 8.0
YAW_STEP_DEG = 3.0


def surround_lidar_to_image(image_hw: tuple[int, int], num_cams: int = 6) -> NDArray[np.float64]:
    """(cameras, 4, 4) of a nuScenes-like camera calibration for images of this size; more cameras than six repeat."""
    height, width = image_hw
    matrices = np.zeros((num_cams, 4, 4))
    for camera in range(num_cams):
        heading = math.radians(HEADINGS_DEG[camera % 6])
        right = (math.cos(heading), math.sin(heading), 0.0)
        forward = (-math.sin(heading), math.cos(heading), 0.0)
        lidar_to_camera = np.eye(4)
        lidar_to_camera[:3, :3] = (right, (0.0, 0.0, -1.0), forward)
        lidar_to_camera[:3, 3] = -lidar_to_camera[:3, :3] @ (0.7 * np.array(forward) - (0.0, 0.0, 0.3))
        intrinsics = np.eye(4)
        intrinsics[0, 0] = intrinsics[1, 1] = FOCAL_PER_WIDTH[camera % 6] * width
        intrinsics[:2, 2] = width / 2, height / 2
        matrices[camera] = intrinsics @ lidar_to_camera
    return matrices


def let_all_cameras_look_ahead(scenes: Path) -> Path:
    """Give every camera of written scenes the first one's projection, and return the folder."""
    for path in scenes.glob("*/meta_*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        content["lidar2img"] = content["lidar2img"][:1] * len(content["lidar2img"])
        path.write_text(json.dumps(content), encoding="utf-8")
    return scenes


def drive_can_bus(num_frames: int, *, turn: float = 1.0) -> NDArray[np.float64]:
    """(frames, 18) absolute: a bend whose yaw crosses 0 degrees at frame 1; negative ``turn`` mirrors it."""
    position = np.array([600.0, 1600.0, 0.0])
    can_bus = np.zeros((num_frames, 18))
    for frame in range(num_frames):
        yaw_deg = (turn * YAW_STEP_DEG * (frame - 0.5)) % 360.0
        yaw_rad = math.radians(yaw_deg)
        can_bus[frame, :3] = position
        can_bus[frame, 3:7] = math.cos(yaw_rad / 2)
        can_bus[frame, 7:10] = 0.1, -0.2, 9.8
        can_bus[frame, 12] = math.radians(turn * YAW_STEP_DEG) / FRAME_SECONDS
        can_bus[frame, 13] = SPEED_MPS
        can_bus[frame, 16] = yaw_rad
        can_bus[frame, 17] = yaw_deg
        position = position + SPEED_MPS * FRAME_SECONDS * np.array([math.cos(yaw_rad), math.sin(yaw_rad), 0.0])
    return can_bus


def random_boxes(rng: np.random.Generator, count: int) -> tuple[GroundTruthBox, ...]:
    """Boxes of all classes within 40 m."""
    return tuple(
        GroundTruthBox(
            category=CLASS_NAMES[rng.integers(len(CLASS_NAMES))],
            center_m=(*rng.uniform(-40.0, 40.0, 2).tolist(), -1.0),
            size_wlh_m=tuple(rng.uniform(0.5, 5.0, 3).tolist()),
            yaw_rad=float(rng.uniform(-math.pi, math.pi)),
            velocity_mps=tuple(rng.uniform(-8.0, 8.0, 2).tolist()),
            num_lidar_pts=int(rng.integers(1, 100)),
        )
        for _ in range(count)
    )


def write_scenes(
    root: Path,
    *,
    num_scenes: int = 2,
    frames_per_scene: int = 3,
    image_hw: tuple[int, int] = (96, 160),
    num_cams: int = 6,
    seed: int = 0,
    gt_boxes: bool = True,
    frame_numbers: Sequence[int] | None = None,
    spelling: Spelling = "cameras",
    scene_index: bool = True,
    img_norm: ImageNormConfig | None = None,
) -> Path:
    """Write scenes ``scene-0000``, ``scene-0001``, ... and return ``root``.

    Args:
        root: folder to write; made if missing.
        num_scenes: scenes; odd ones turn the other way.
        frames_per_scene: frames of each; ignored where ``frame_numbers`` is given.
        image_hw: size of the images as stored; a size that is no multiple of 32 makes unpadded images.
        num_cams: cameras per frame.
        seed: of noise and boxes.
        gt_boxes: whether the metas carry annotations (four per frame).
        frame_numbers: numbers of the frames in the file names; 0, 1, 2, ... by default.
        spelling: one image per camera; all cameras stacked in ``img_*``; or ``img_*`` numbered frame-major.
        scene_index: whether to write ``scene_index.json``.
        img_norm: recorded in the metas; that of ``micro_config`` by default.
    """
    rng = np.random.default_rng(seed)
    numbers = tuple(range(frames_per_scene) if frame_numbers is None else frame_numbers)
    names = [f"scene-{scene:04d}" for scene in range(num_scenes)]
    for scene, name in enumerate(names):
        can_bus = drive_can_bus(len(numbers), turn=-1.0 if scene % 2 else 1.0)
        for position, number in enumerate(numbers):
            images = list(rng.integers(0, 256, (num_cams, *image_hw, 3), dtype=np.uint8))
            write_frame(
                root / name,
                number,
                images,
                lidar_to_image=surround_lidar_to_image(image_hw, num_cams),
                can_bus_absolute=can_bus[position],
                img_norm=img_norm or micro_config().img_norm,
                scene_token=name,
                sample_token=f"{name}-{number}",
                timestamp_us=1_500_000_000_000_000 + round(position * FRAME_SECONDS * 1e6),
                gt_boxes=random_boxes(rng, 4) if gt_boxes else None,
            )
            if spelling != "cameras":
                _respell(root / name, number, position, images, spelling)
    if scene_index:
        write_scene_index(root, dict.fromkeys(names, numbers))
    return root


def _respell(folder: Path, number: int, position: int, images: list[NDArray[np.uint8]], spelling: Spelling) -> None:
    for camera, image in enumerate(images):
        (folder / camera_image_name(camera, number)).unlink()
        if spelling == "numbered":
            write_png(folder / plain_image_name(position * len(images) + camera), image)
    if spelling == "stacked":
        write_png(folder / plain_image_name(number), np.concatenate(images))
