from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nuscenes", reason="nuscenes-devkit is not installed; make test installs it")

from bevformer_lib.errors import SceneError
from bevformer_lib.nuscenes.can_bus import can_bus_absolute, can_bus_root, read_pose_messages
from tests.support.nuscenes import FIRST_US, pose_message

SCENE = "scene-0103"
POSE = {"translation": [1.0, 2.0, 3.0], "rotation": [math.cos(-0.5), 0.0, 0.0, math.sin(-0.5)]}
"""Turned by -1 rad about z."""


def messages(*numbers: int) -> list[dict]:
    return [pose_message(SCENE, number) for number in numbers]


def test_the_eighteen_values() -> None:
    given = messages(0, 1, 2, 3)
    can_bus = can_bus_absolute(POSE, given[2]["utime"], given)
    yaw_rad = 2 * math.pi - 1.0
    expected = [1, 2, 3, *[math.cos(0.5)] * 4, 0.2, -0.2, 9.8, 0.01, 0.02, 0.002, 10, 0, 0.02, yaw_rad]
    np.testing.assert_allclose(can_bus, [*expected, math.degrees(yaw_rad)], atol=1e-12)


def test_the_last_message_not_after_the_sample() -> None:
    given = messages(0, 1, 2)
    assert can_bus_absolute(POSE, given[1]["utime"] - 1, given)[7] == pytest.approx(0.0)
    assert can_bus_absolute(POSE, given[1]["utime"], given)[7] == pytest.approx(0.1)
    assert can_bus_absolute(POSE, given[2]["utime"] + 10**9, given)[7] == pytest.approx(0.2)


def test_zeros_without_a_message() -> None:
    given = messages(0)
    for can_bus in (can_bus_absolute(POSE, given[0]["utime"] - 1, given), can_bus_absolute(POSE, FIRST_US[SCENE], [])):
        assert not can_bus[7:16].any()
        assert can_bus[2] == 3.0


def test_messages_of_a_scene(nuscenes_root: Path) -> None:
    found = read_pose_messages(can_bus_root(nuscenes_root), SCENE)
    assert found[5] == pose_message(SCENE, 5)
    assert read_pose_messages(nuscenes_root, "scene-0161") == [], "nuScenes has no CAN data of this scene"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    root = tmp_path / "data" / "nuscenes"
    root.mkdir(parents=True)
    with pytest.raises(SceneError, match="unpack nuScenes' CAN bus expansion there"):
        can_bus_root(root)
    (tmp_path / "data" / "can_bus").mkdir()
    assert can_bus_root(root) == tmp_path / "data"
    with pytest.raises(SceneError, match=r"scene-0103_pose\.json: can't be read"):
        read_pose_messages(tmp_path / "data", SCENE)
    path = tmp_path / "data" / "can_bus" / f"{SCENE}_pose.json"
    for content, said in (("[{", "is not a list"), ("[{}]", "utime"), (json.dumps([{"utime": 1.5}]), "lacks its time")):
        path.write_text(content)
        with pytest.raises(SceneError, match=said):
            read_pose_messages(tmp_path / "data", SCENE)
