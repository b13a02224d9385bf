from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bevformer_lib.scenes.ground_truth import gt_boxes_from_json, gt_boxes_to_json
from bevformer_lib.scenes.types import GroundTruthBox

BOX: dict[str, Any] = {
    "category": "car",
    "center_m": [1.5, 20.0, -0.75],
    "size_wlh_m": [1.9, 4.5, 1.6],
    "yaw_rad": 1.25,
    "velocity_mps": [0.5, 8.0],
    "num_lidar_pts": 12,
}


def test_boxes_survive_json_and_back():
    boxes = (
        GroundTruthBox("car", (1.5, 20.0, -0.75), (1.9, 4.5, 1.6), 1.25, (0.5, 8.0), 12),
        GroundTruthBox("pedestrian", (0.1, 0.2, 0.3), (0.6, 0.7, 1.7), -3.1, (0.0, 0.0)),
        GroundTruthBox(
            "bus",
            (0.1, 0.2, 0.3),
            (2.6, 10.0, 3.1),
            0.0,
            (0.0, 0.0),
            num_lidar_pts=0,
            num_radar_pts=3,
            attribute="vehicle.stopped",
            velocity_known=False,
        ),
    )
    content = json.loads(json.dumps(gt_boxes_to_json(boxes)))
    assert content[0] == BOX
    assert "num_lidar_pts" not in content[1]
    assert gt_boxes_from_json(content) == boxes


def test_numpy_numbers_can_be_written():
    box = GroundTruthBox("car", tuple(np.ones(3)), tuple(np.ones(3, np.float32)), np.float64(1.0), tuple(np.zeros(2)))
    assert json.loads(json.dumps(gt_boxes_to_json([box])))[0]["size_wlh_m"] == [1.0, 1.0, 1.0]


def test_no_boxes_means_annotated_and_empty():
    assert gt_boxes_from_json([]) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category": 3}, r"gt_boxes\[1\]\.category must be a class name, not 3"),
        ({"center_m": [1.0, 2.0]}, r"gt_boxes\[1\]\.center_m must be a list of 3 numbers"),
        ({"center_m": [1.0, 2.0, float("nan")]}, r"gt_boxes\[1\]\.center_m must be finite, not nan"),
        ({"size_wlh_m": [1.0, 0.0, 2.0]}, r"gt_boxes\[1\]\.size_wlh_m must be positive"),
        ({"yaw_rad": "north"}, r"gt_boxes\[1\]\.yaw_rad must be finite, not 'north'"),
        ({"velocity_mps": None}, r"gt_boxes\[1\]\.velocity_mps must be a list of 2 numbers"),
        ({"num_lidar_pts": -1}, r"gt_boxes\[1\]\.num_lidar_pts must be a count, not -1"),
        ({"num_radar_pts": 1.5}, r"gt_boxes\[1\]\.num_radar_pts must be a count, not 1.5"),
        ({"attribute": ""}, r"gt_boxes\[1\]\.attribute must be an attribute name, not ''"),
        ({"velocity_known": 1}, r"gt_boxes\[1\]\.velocity_known must be true or false, not 1"),
        ({"heading": 0.0}, r"gt_boxes\[1\] has unknown keys: heading"),
    ],
)
def test_malformed_boxes_are_refused_by_position_and_key(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        gt_boxes_from_json([BOX, BOX | change])


def test_missing_keys_and_wrong_containers_are_named():
    with pytest.raises(ValueError, match=r"gt_boxes\[0\] lacks center_m, yaw_rad"):
        gt_boxes_from_json([{key: BOX[key] for key in ("category", "size_wlh_m", "velocity_mps")}])
    with pytest.raises(ValueError, match="gt_boxes must be a list of boxes, not dict"):
        gt_boxes_from_json(BOX)
    with pytest.raises(ValueError, match=r"gt_boxes\[0\] must be an object, not int"):
        gt_boxes_from_json([3])
