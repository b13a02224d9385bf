from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bevformer_lib.errors import ConfigError
from bevformer_lib.metrics.lost_camera import LostCamera, cameras_to_drop, objects_shown
from bevformer_lib.names import CAMERA_ORDER
from bevformer_lib.plain_data import from_plain, to_plain
from bevformer_lib.scenes.types import Frame, GroundTruthBox, Scene
from tests.report.examples import example_lost_cameras


def test_cameras_to_drop() -> None:
    assert cameras_to_drop(None, 6) == ()
    assert cameras_to_drop("CAM_BACK", 6) == ("CAM_BACK",)
    assert cameras_to_drop("all", 3) == CAMERA_ORDER[:3]
    with pytest.raises(
        ConfigError, match="no camera 'CAM_BACK'; name one of CAM_FRONT, CAM_FRONT_RIGHT, CAM_FRONT_LEFT"
    ):
        cameras_to_drop("CAM_BACK", 3)


def camera_looking(x: float, y: float) -> np.ndarray:
    """A camera at the origin that looks level along (x, y), 90 degrees wide, with images of 100 x 100."""
    axes = np.array([[y, -x, 0.0], [0.0, 0.0, -1.0], [x, y, 0.0]])
    projection = np.eye(4)
    projection[:3, :3] = np.array([[50.0, 0.0, 50.0], [0.0, 50.0, 50.0], [0.0, 0.0, 1.0]]) @ axes
    return projection


def test_objects_are_counted_where_their_centre_is_shown() -> None:
    ahead, right, behind = camera_looking(0, 1), camera_looking(1, 0), camera_looking(0, -1)
    half_right = camera_looking(0.6, 0.8)
    places = [(0.0, 10.0), (4.0, 10.0), (10.0, 0.0), (-10.0, 0.0)]
    boxes = tuple(GroundTruthBox("car", (x, y, 0.0), (2.0, 4.0, 1.5), 0.0, (0.0, 0.0)) for x, y in places)
    projections = np.stack([ahead, half_right, right, behind])
    frames = (
        Frame(0, (), projections, np.zeros(18), boxes, Path("meta")),
        Frame(1, (), projections, np.zeros(18), (), Path("meta")),
        Frame(2, (), projections, np.zeros(18), None, Path("meta")),
    )
    scenes = [Scene("street", frames)]
    shown = [objects_shown(scenes, camera, (100, 100)) for camera in CAMERA_ORDER[:4]]
    assert shown == [(2, 0), (2, 0), (1, 1), (0, 0)]


def test_goes_to_json_and_back() -> None:
    lost = example_lost_cameras()[0]
    assert from_plain(LostCamera, json.loads(json.dumps(to_plain(lost)))) == lost
