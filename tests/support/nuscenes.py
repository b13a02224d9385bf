"""A small dataset in nuScenes' own table format: two scenes of `mini_val`, rendered images, sweeps, CAN messages.

Scene 0103 drives straight along the global x axis at 10 m/s on flat ground, so that projections can be computed by
hand; scene 0916 turns on a slope. Every sensor measures at a time of its own and has the ego pose of that time.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pyquaternion import Quaternion

from bevformer_lib.names import CAMERA_ORDER
from bevformer_lib.nuscenes.extract import Extraction
from tests.support.micro import micro_config

VERSION, SPLIT = "v1.0-mini", "mini_val"
SCENE_NAMES = ("scene-0103", "scene-0916")
KEYFRAMES = 4
KEYFRAME_US = 500_000
SPEED_MPS = 10.0
CAN_PERIOD_US = 20_000
PICTURE_HW = (900, 1600)
FOCAL_PX, CENTER_PX = 1000.0, (800.0, 450.0)
CAMERA_DELAY_US = dict(zip(CAMERA_ORDER, (-50_000, -40_000, -60_000, 20_000, 10_000, -10_000), strict=True))
CAMERA_HEADING_DEG = dict(zip(CAMERA_ORDER, (0.0, -55.0, 55.0, 180.0, 110.0, -110.0), strict=True))
"""Counter-clockwise from the ego's x axis (forward)."""
CAMERA_POSITION_M = dict(
    zip(
        CAMERA_ORDER,
        ((1.7, 0.0, 1.5), (1.5, -0.5, 1.5), (1.5, 0.5, 1.5), (0.0, 0.0, 1.6), (1.0, 0.5, 1.6), (1.0, -0.5, 1.6)),
        strict=True,
    )
)
LIDAR_POSITION_M = (0.9, 0.0, 1.8)
LIDAR_ROTATION = Quaternion(axis=(0, 0, 1), degrees=-90)
"""LiDAR x is the ego's right, y its forward."""
FIRST_US = {"scene-0103": 1_535_000_000_000_000, "scene-0916": 1_536_000_000_000_000}


@dataclass(frozen=True)
class Thing:
    """An annotated object: where it is at the scene's start in the global frame, and how it moves."""

    name: str
    category: str
    start_m: tuple[float, float, float]
    size_wlh_m: tuple[float, float, float]
    yaw_rad: float
    velocity_mps: tuple[float, float] = (0.0, 0.0)
    attribute: str | None = None
    num_lidar_pts: int = 20
    num_radar_pts: int = 1
    only_at: int | None = None


ORIGIN_M = (500.0, 1000.0, 0.0)
THINGS = (
    Thing("ahead", "vehicle.car", (525.9, 1000.0, 1.8), (2.0, 4.5, 1.6), 0.0, (10.0, 0.0), "vehicle.moving"),
    Thing("parked", "vehicle.car", (512.0, 1006.0, 0.8), (1.9, 4.4, 1.5), 3.0, (0.0, 0.0), "vehicle.parked"),
    Thing("oncoming", "vehicle.truck", (540.0, 1004.0, 1.5), (2.5, 8.0, 3.0), math.pi, (-8.0, 0.2), "vehicle.moving"),
    Thing("stop", "vehicle.bus.rigid", (490.0, 994.0, 1.6), (2.9, 11.0, 3.2), 0.1, (0.0, 0.0), "vehicle.stopped"),
    Thing(
        "walker", "human.pedestrian.adult", (518.0, 992.0, 0.9), (0.6, 0.7, 1.8), 1.0, (0.5, 1.2), "pedestrian.moving"
    ),
    Thing(
        "child", "human.pedestrian.child", (508.0, 993.0, 0.6), (0.5, 0.5, 1.2), -2.0, attribute="pedestrian.standing"
    ),
    Thing("racked", "vehicle.bicycle", (506.0, 1009.0, 0.6), (0.6, 1.7, 1.2), 1.5, attribute="cycle.without_rider"),
    Thing("rack", "static_object.bicycle_rack", (506.0, 1009.0, 0.7), (3.0, 8.0, 1.4), 0.2),
    Thing("cyclist", "vehicle.bicycle", (515.0, 995.0, 0.8), (0.6, 1.8, 1.7), 0.0, (5.0, 0.0), "cycle.with_rider"),
    Thing("rider", "vehicle.motorcycle", (480.0, 1003.0, 0.8), (0.8, 2.1, 1.5), 0.0, (9.0, 0.0), "cycle.with_rider"),
    Thing("barrier", "movable_object.barrier", (514.0, 989.0, 0.5), (2.5, 0.6, 1.0), 0.4),
    Thing("cone", "movable_object.trafficcone", (511.0, 997.0, 0.4), (0.4, 0.4, 0.8), 0.0),
    Thing("trailer", "vehicle.trailer", (530.0, 1010.0, 1.9), (2.9, 12.0, 3.8), 0.05, attribute="vehicle.parked"),
    Thing("digger", "vehicle.construction", (505.0, 985.0, 1.5), (2.8, 6.0, 3.0), 2.2, attribute="vehicle.parked"),
    Thing("dog", "animal", (509.0, 1002.0, 0.3), (0.3, 0.9, 0.6), 0.0),
    Thing("hidden", "vehicle.car", (520.0, 1012.0, 0.8), (1.9, 4.4, 1.5), 0.3, num_lidar_pts=0, num_radar_pts=0),
    Thing("far", "vehicle.car", (580.0, 1000.0, 0.8), (1.9, 4.4, 1.5), 0.0, attribute="vehicle.parked"),
    Thing("glimpsed", "vehicle.car", (517.0, 1007.0, 0.8), (1.9, 4.4, 1.5), -0.4, only_at=1),
)
"""The same in both scenes; "glimpsed" is annotated once, so its velocity is not known."""


def micro_extraction(*, can_bus: bool = True) -> Extraction:
    """The dataset's scenes for the micro model: images of a tenth of the size."""
    return Extraction.for_model(micro_config(), version=VERSION, split=SPLIT, can_bus=can_bus)


def token(*parts: object) -> str:
    """A nuScenes token: 32 hexadecimal digits."""
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def ego_pose(scene: str, time_us: int) -> tuple[NDArray[np.float64], Quaternion]:
    """Where the car is in the global frame, at a time since the scene's start."""
    seconds = time_us / 1e6
    if scene == "scene-0103":
        return np.add(ORIGIN_M, (SPEED_MPS * seconds, 0.0, 0.0)), Quaternion()
    yaw = 0.3 * seconds - 0.2
    rotation = (
        Quaternion(axis=(0, 0, 1), radians=yaw)
        * Quaternion(axis=(0, 1, 0), radians=0.02)
        * Quaternion(axis=(1, 0, 0), radians=-0.013)
    )
    return np.add(ORIGIN_M, (SPEED_MPS * seconds * 0.9, 2.0 * seconds, 0.0)), rotation


def camera_rotation(channel: str) -> Quaternion:
    """Camera (x right, y down, z forward) to ego."""
    heading = math.radians(CAMERA_HEADING_DEG[channel])
    forward = (math.cos(heading), math.sin(heading), 0.0)
    right = (math.sin(heading), -math.cos(heading), 0.0)
    return Quaternion(matrix=np.array([right, (0.0, 0.0, -1.0), forward]).T)


def pose_message(scene: str, number: int) -> dict[str, Any]:
    """The CAN ``pose`` message of a number; the first comes 7 ms after the scene's start."""
    return {
        "accel": [0.1 * number, -0.2, 9.8],
        "orientation": [1.0, 0.0, 0.0, 0.0],
        "pos": [float(number), 0.0, 0.0],
        "rotation_rate": [0.01, 0.02, 0.001 * number],
        "utime": FIRST_US[scene] + 7_000 + number * CAN_PERIOD_US,
        "vel": [SPEED_MPS, 0.0, 0.01 * number],
    }


def write_nuscenes(root: Path, *, can_bus: bool = True) -> Path:
    """Write the dataset and return its root."""
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    _write_taxonomy(tables)
    _write_map(root, tables)
    for scene in SCENE_NAMES:
        _write_scene(root, tables, scene)
        if can_bus:
            folder = root / "can_bus"
            folder.mkdir(exist_ok=True)
            messages = [pose_message(scene, number) for number in range(KEYFRAMES * KEYFRAME_US // CAN_PERIOD_US)]
            (folder / f"{scene}_pose.json").write_text(json.dumps(messages))
    (root / VERSION).mkdir(parents=True)
    for name, records in tables.items():
        (root / VERSION / f"{name}.json").write_text(json.dumps(records))
    return root


TABLES = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "log",
    "map",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
    "visibility",
)


def _write_taxonomy(tables: dict[str, list[dict[str, Any]]]) -> None:
    for category in dict.fromkeys(thing.category for thing in THINGS):
        tables["category"].append({"token": token("category", category), "name": category, "description": ""})
    for attribute in sorted({thing.attribute for thing in THINGS if thing.attribute}):
        tables["attribute"].append({"token": token("attribute", attribute), "name": attribute, "description": ""})
    for level, share in enumerate(("0-40", "40-60", "60-80", "80-100"), start=1):
        tables["visibility"].append({"token": str(level), "level": f"v{share}", "description": ""})
    for channel in (*CAMERA_ORDER, "LIDAR_TOP"):
        modality = "lidar" if channel == "LIDAR_TOP" else "camera"
        tables["sensor"].append({"token": token("sensor", channel), "channel": channel, "modality": modality})


def _write_map(root: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    (root / "maps").mkdir(parents=True)
    cv2.imwrite(str(root / "maps" / "mask.png"), np.zeros((8, 8), np.uint8))
    tables["map"].append(
        {
            "token": token("map"),
            "log_tokens": [token("log", scene) for scene in SCENE_NAMES],
            "category": "semantic_prior",
            "filename": "maps/mask.png",
        }
    )


def _write_scene(root: Path, tables: dict[str, list[dict[str, Any]]], scene: str) -> None:
    tables["log"].append(
        {
            "token": token("log", scene),
            "logfile": scene,
            "vehicle": "n000",
            "date_captured": "2018-08-23",
            "location": "nowhere",
        }
    )
    samples = [token("sample", scene, frame) for frame in range(KEYFRAMES)]
    tables["scene"].append(
        {
            "token": token("scene", scene),
            "log_token": token("log", scene),
            "nbr_samples": KEYFRAMES,
            "first_sample_token": samples[0],
            "last_sample_token": samples[-1],
            "name": scene,
            "description": "made up",
        }
    )
    for frame, sample in enumerate(samples):
        tables["sample"].append(
            {
                "token": sample,
                "timestamp": FIRST_US[scene] + frame * KEYFRAME_US,
                "prev": samples[frame - 1] if frame else "",
                "next": samples[frame + 1] if frame + 1 < KEYFRAMES else "",
                "scene_token": token("scene", scene),
            }
        )
    for channel in (*CAMERA_ORDER, "LIDAR_TOP"):
        _write_channel(root, tables, scene, channel)
    for thing in THINGS:
        _write_instance(tables, scene, thing)


def _write_channel(root: Path, tables: dict[str, list[dict[str, Any]]], scene: str, channel: str) -> None:
    is_camera = channel != "LIDAR_TOP"
    rotation = camera_rotation(channel) if is_camera else LIDAR_ROTATION
    tables["calibrated_sensor"].append(
        {
            "token": token("calibrated", scene, channel),
            "sensor_token": token("sensor", channel),
            "translation": list(CAMERA_POSITION_M[channel] if is_camera else LIDAR_POSITION_M),
            "rotation": list(rotation),
            "camera_intrinsic": INTRINSICS.tolist() if is_camera else [],
        }
    )
    times = [(frame, sweep) for frame in range(KEYFRAMES) for sweep in (0, 1)]
    tokens = [token("data", scene, channel, *time) for time in times]
    for position, (frame, sweep) in enumerate(times):
        time_us = frame * KEYFRAME_US + sweep * KEYFRAME_US // 2 + CAMERA_DELAY_US.get(channel, 0)
        translation, ego_rotation = ego_pose(scene, time_us)
        tables["ego_pose"].append(
            {
                "token": tokens[position],
                "timestamp": FIRST_US[scene] + time_us,
                "rotation": list(ego_rotation),
                "translation": translation.tolist(),
            }
        )
        folder = "sweeps" if sweep else "samples"
        file = f"{folder}/{channel}/{scene}-{frame}.{'jpg' if is_camera else 'pcd.bin'}"
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        if not is_camera:
            np.zeros((1, 5), np.float32).tofile(root / file)
        elif sweep:
            cv2.imwrite(str(root / file), np.zeros((9, 16, 3), np.uint8))
        else:
            cv2.imwrite(str(root / file), render(scene, channel, frame), (cv2.IMWRITE_JPEG_QUALITY, 95))
        tables["sample_data"].append(
            {
                "token": tokens[position],
                "sample_token": token("sample", scene, min(frame + sweep, KEYFRAMES - 1)),
                "ego_pose_token": tokens[position],
                "calibrated_sensor_token": token("calibrated", scene, channel),
                "timestamp": FIRST_US[scene] + time_us,
                "fileformat": "jpg" if is_camera else "pcd",
                "is_key_frame": not sweep,
                "height": PICTURE_HW[0] if is_camera else 0,
                "width": PICTURE_HW[1] if is_camera else 0,
                "filename": file,
                "prev": tokens[position - 1] if position else "",
                "next": tokens[position + 1] if position + 1 < len(tokens) else "",
            }
        )


def _write_instance(tables: dict[str, list[dict[str, Any]]], scene: str, thing: Thing) -> None:
    frames = [thing.only_at] if thing.only_at is not None else list(range(KEYFRAMES))
    tokens = {frame: token("annotation", scene, thing.name, frame) for frame in frames}
    tables["instance"].append(
        {
            "token": token("instance", scene, thing.name),
            "category_token": token("category", thing.category),
            "nbr_annotations": len(frames),
            "first_annotation_token": tokens[frames[0]],
            "last_annotation_token": tokens[frames[-1]],
        }
    )
    for frame in frames:
        tables["sample_annotation"].append(
            {
                "token": tokens[frame],
                "sample_token": token("sample", scene, frame),
                "instance_token": token("instance", scene, thing.name),
                "visibility_token": "4",
                "attribute_tokens": [token("attribute", thing.attribute)] if thing.attribute else [],
                "translation": position_m(thing, frame * KEYFRAME_US).tolist(),
                "size": list(thing.size_wlh_m),
                "rotation": list(Quaternion(axis=(0, 0, 1), radians=thing.yaw_rad)),
                "prev": tokens.get(frame - 1, ""),
                "next": tokens.get(frame + 1, ""),
                "num_lidar_pts": thing.num_lidar_pts,
                "num_radar_pts": thing.num_radar_pts,
            }
        )


INTRINSICS = np.array([[FOCAL_PX, 0.0, CENTER_PX[0]], [0.0, FOCAL_PX, CENTER_PX[1]], [0.0, 0.0, 1.0]])
MARKER_BGR = (0, 255, 255)


def position_m(thing: Thing, time_us: int) -> NDArray[np.float64]:
    """The centre of a thing in the global frame, at a time since the scene's start."""
    moved = np.array([*thing.velocity_mps, 0.0]) * time_us / 1e6
    return np.array(thing.start_m) + moved


def render(scene: str, channel: str, frame: int) -> NDArray[np.uint8]:
    """A gray image with a yellow disc where the centre of every thing of the keyframe is seen.

    Things stand where they are annotated (at the LiDAR's time); only the car moves on until the camera triggers.
    """
    image = np.full((*PICTURE_HW, 3), 90, np.uint8)
    translation, rotation = ego_pose(scene, frame * KEYFRAME_US + CAMERA_DELAY_US[channel])
    for thing in THINGS:
        if thing.only_at in (None, frame):
            in_ego = rotation.inverse.rotate(position_m(thing, frame * KEYFRAME_US) - translation)
            in_camera = camera_rotation(channel).inverse.rotate(in_ego - np.array(CAMERA_POSITION_M[channel]))
            if in_camera[2] > 1.0:
                u, v, _ = INTRINSICS @ in_camera / in_camera[2]
                cv2.circle(image, (round(u), round(v)), 12, MARKER_BGR, -1)
    return image
