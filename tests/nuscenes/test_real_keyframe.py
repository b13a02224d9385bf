"""A real keyframe of nuScenes in its own tables: what we make of it against what its publisher computed."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("nuscenes", reason="nuscenes-devkit is not installed; make test installs it")

from pyquaternion import Quaternion

from bevformer_lib.config.presets import TINY
from bevformer_lib.names import CAMERA_ORDER
from bevformer_lib.nuscenes.extract import Extraction, extract_scenes
from bevformer_lib.scenes.reader import SceneRequirements, read_scenes
from bevformer_lib.scenes.types import Frame
from tests.support.data import requires_shared_data, shared_data

pytestmark = requires_shared_data

VERSION, SPLIT, SCENE = "v1.0-one", "one", "scene-0061"
NAMES = {
    "car": "vehicle.car",
    "truck": "vehicle.truck",
    "bus": "vehicle.bus.rigid",
    "trailer": "vehicle.trailer",
    "construction_vehicle": "vehicle.construction",
    "pedestrian": "human.pedestrian.adult",
    "motorcycle": "vehicle.motorcycle",
    "bicycle": "vehicle.bicycle",
    "traffic_cone": "movable_object.trafficcone",
    "barrier": "movable_object.barrier",
}


@pytest.fixture(scope="module")
def keyframe() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((shared_data() / "nuscenes_scene_0061_keyframe" / "keyframe.json").read_text())
    return content


@pytest.fixture(scope="module")
def frame(keyframe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Frame:
    root = tmp_path_factory.mktemp("one keyframe")
    _write_dataset(root / "nuscenes", keyframe)
    extraction = Extraction.for_model(TINY, version=VERSION, split=SPLIT, can_bus=False)
    extract_scenes(root / "nuscenes", extraction, root / "scenes")
    ((found,),) = (scene.frames for scene in read_scenes(root / "scenes", SceneRequirements.of_model(TINY)))
    return found


def test_projections(frame: Frame, keyframe: dict[str, Any]) -> None:
    """Within a hundredth of a pixel of the publisher's single-precision matrices, for everything near the car."""
    points = np.array([[x, y, z, 1.0] for x in (-20, 3, 30) for y in (-30, 8, 40) for z in (-1.5, 1.0)])
    for camera, channel in enumerate(CAMERA_ORDER):
        published = keyframe["cameras"][channel]
        intrinsics = np.eye(4)
        intrinsics[:3, :3] = published["cam2img"]
        expected = points @ (np.diag((0.5, 0.5, 1, 1)) @ intrinsics @ np.array(published["lidar2cam"])).T
        ours = points @ frame.lidar_to_image[camera].T
        seen = expected[:, 2] > 2.0
        assert seen.any()
        np.testing.assert_allclose(
            ours[seen, :2] / ours[seen, 2:3], expected[seen, :2] / expected[seen, 2:3], rtol=1e-5, atol=0.01
        )


def test_the_car_moved_between_the_sensors(frame: Frame, keyframe: dict[str, Any]) -> None:
    """The publisher's projections hold each camera's own ego pose: offset over time difference is one speed."""
    lidar_to_ego = np.array(keyframe["lidar2ego"])
    speeds = []
    for channel in CAMERA_ORDER:
        published = keyframe["cameras"][channel]
        ego_then_to_ego_now = (
            lidar_to_ego @ np.linalg.inv(np.array(published["lidar2cam"])) @ np.linalg.inv(_camera_to_ego(published))
        )
        seconds = published["timestamp"] - keyframe["timestamp_s"]
        if abs(seconds) > 0.01:
            speeds.append(ego_then_to_ego_now[0, 3] / seconds)
    assert len(speeds) >= 3
    np.testing.assert_allclose(speeds, np.median(speeds), atol=0.5)
    assert 5.0 < np.median(speeds) < 12.0, "m/s, in town"


def test_annotations(frame: Frame, keyframe: dict[str, Any]) -> None:
    """Also after the way through the global frame, where annotations have no tilt."""
    assert frame.gt_boxes is not None
    assert len(frame.gt_boxes) == len(keyframe["gt_boxes"]) == 68
    for ours, published in zip(frame.gt_boxes, keyframe["gt_boxes"], strict=True):
        length, width, height = published["length_width_height_m"]
        assert ours.category == published["category"]
        assert ours.center_m == pytest.approx(published["center_lidar_m"], abs=1e-4)
        assert ours.size_wlh_m == pytest.approx((width, length, height))
        turned = (ours.yaw_rad - published["yaw_lidar_rad"] + np.pi) % (2 * np.pi) - np.pi
        assert turned == pytest.approx(0.0, abs=2e-3)
        assert ours.num_lidar_pts == published["num_lidar_pts"]


def test_ego_motion(frame: Frame, keyframe: dict[str, Any]) -> None:
    ego_to_global = np.array(keyframe["ego2global"])
    np.testing.assert_allclose(frame.can_bus_absolute[:3], ego_to_global[:3, 3], atol=1e-3)
    yaw = np.degrees(np.arctan2(ego_to_global[1, 0], ego_to_global[0, 0])) % 360.0
    assert frame.can_bus_absolute[17] == pytest.approx(yaw, abs=1e-3)


def _camera_to_ego(published: dict[str, Any]) -> np.ndarray:
    return np.array(published["cam2ego"])


def _token(*parts: object) -> str:
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def _pose(matrix: np.ndarray) -> dict[str, list[float]]:
    """A record's translation and rotation; single precision leaves matrices that are not quite rotations."""
    left, _, right = np.linalg.svd(matrix[:3, :3])
    rotation = Quaternion(matrix=left @ right, rtol=1e-6, atol=1e-6)
    return {"translation": matrix[:3, 3].tolist(), "rotation": list(rotation)}


def _write_dataset(root: Path, keyframe: dict[str, Any]) -> None:
    """The keyframe as tables; the cameras' ego poses follow from the projections, the headings lose their tilt."""
    lidar_to_ego, ego_to_global = np.array(keyframe["lidar2ego"]), np.array(keyframe["ego2global"])
    lidar_to_global = ego_to_global @ lidar_to_ego
    time_us = round(keyframe["timestamp_s"] * 1e6)
    sample, scene = keyframe["sample_token"], _token("scene")
    sensors = {"LIDAR_TOP": (lidar_to_ego, ego_to_global, [], time_us)}
    for channel, published in keyframe["cameras"].items():
        to_ego = _camera_to_ego(published)
        to_global = lidar_to_global @ np.linalg.inv(np.array(published["lidar2cam"])) @ np.linalg.inv(to_ego)
        sensors[channel] = (to_ego, to_global, published["cam2img"], round(published["timestamp"] * 1e6))
        target = root / "samples" / channel / "0.jpg"
        target.parent.mkdir(parents=True)
        shutil.copyfile(shared_data() / "nuscenes_scene_0061_keyframe" / published["file"], target)
    (root / "maps").mkdir()
    (root / "maps" / "none.png").write_bytes(b"")
    annotations, instances = [], []
    for number, box in enumerate(keyframe["gt_boxes"]):
        length, width, height = box["length_width_height_m"]
        ahead = lidar_to_global[:3, :2] @ (np.cos(box["yaw_lidar_rad"]), np.sin(box["yaw_lidar_rad"]))
        heading = Quaternion(axis=(0, 0, 1), radians=float(np.arctan2(ahead[1], ahead[0])))
        token = _token("box", number)
        instances.append({"token": token, "category_token": _token(NAMES[box["category"]])})
        annotations.append(
            {
                "token": token,
                "sample_token": sample,
                "instance_token": token,
                "attribute_tokens": [],
                "translation": (lidar_to_global @ (*box["center_lidar_m"], 1.0))[:3].tolist(),
                "size": [width, length, height],
                "rotation": list(heading),
                "prev": "",
                "next": "",
                "num_lidar_pts": box["num_lidar_pts"],
                "num_radar_pts": 0,
            }
        )
    tables: dict[str, Any] = {
        "attribute": [],
        "visibility": [],
        "category": [{"token": _token(name), "name": name} for name in NAMES.values()],
        "instance": instances,
        "sample_annotation": annotations,
        "log": [{"token": _token("log")}],
        "map": [{"token": _token("map"), "log_tokens": [_token("log")], "filename": "maps/none.png"}],
        "scene": [{"token": scene, "name": SCENE, "log_token": _token("log"), "first_sample_token": sample}],
        "sample": [{"token": sample, "timestamp": time_us, "prev": "", "next": "", "scene_token": scene}],
        "sensor": [
            {"token": channel, "channel": channel, "modality": "lidar" if channel == "LIDAR_TOP" else "camera"}
            for channel in sensors
        ],
        "calibrated_sensor": [
            {"token": channel, "sensor_token": channel, "camera_intrinsic": intrinsics, **_pose(to_ego)}
            for channel, (to_ego, _, intrinsics, _) in sensors.items()
        ],
        "ego_pose": [
            {"token": channel, "timestamp": time, **_pose(to_global)}
            for channel, (_, to_global, _, time) in sensors.items()
        ],
        "sample_data": [
            {
                "token": channel,
                "sample_token": sample,
                "ego_pose_token": channel,
                "calibrated_sensor_token": channel,
                "timestamp": time,
                "is_key_frame": True,
                "height": 900,
                "width": 1600,
                "filename": f"samples/{channel}/0.jpg",
                "prev": "",
                "next": "",
            }
            for channel, (_, _, _, time) in sensors.items()
        ],
        "splits": {SPLIT: [SCENE]},
    }
    (root / VERSION).mkdir()
    for name, records in tables.items():
        (root / VERSION / f"{name}.json").write_text(json.dumps(records))
