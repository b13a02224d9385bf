from __future__ import annotations

import json

import numpy as np

from bevformer_lib.detections.geometry import (
    BOX_EDGES,
    FRONT_CORNERS,
    box_corners_lidar_m,
    ground_truth_as_detection_boxes,
    heading_from_yaw_rad,
)
from bevformer_lib.scenes.types import GroundTruthBox
from tests.support.data import requires_shared_data, shared_data


def annotated(heading_rad: float, center: tuple[float, float, float] = (10.0, 20.0, 1.0)) -> GroundTruthBox:
    return GroundTruthBox(
        category="car",
        center_m=center,
        size_wlh_m=(2.0, 4.0, 1.5),
        yaw_rad=heading_rad,
        velocity_mps=(1.0, 2.0),
    )


def corners_from_heading(box: GroundTruthBox) -> np.ndarray:
    """An independent construction: front, left and up vectors from the heading."""
    front = np.array([np.cos(box.yaw_rad), np.sin(box.yaw_rad), 0.0]) * box.size_wlh_m[1] / 2
    left = np.array([-np.sin(box.yaw_rad), np.cos(box.yaw_rad), 0.0]) * box.size_wlh_m[0] / 2
    up = np.array([0.0, 0.0, box.size_wlh_m[2] / 2])
    ring = [front + left, front - left, -front - left, -front + left]
    return np.array(box.center_m) + np.array([corner - up for corner in ring] + [corner + up for corner in ring])


def test_unrotated_box_stands_on_its_bottom_centre() -> None:
    corners = box_corners_lidar_m(np.array([[1.0, 2.0, 3.0, 2.0, 4.0, 1.5, 0.0, 0.0, 0.0]]))
    assert corners.shape == (1, 8, 3)
    np.testing.assert_allclose(corners[0].min(axis=0), [0, 0, 3])
    np.testing.assert_allclose(corners[0].max(axis=0), [2, 4, 4.5])


def test_yaw_turns_clockwise() -> None:
    quarter = box_corners_lidar_m(np.array([[0.0, 0.0, 0.0, 2.0, 4.0, 1.0, np.pi / 6, 0.0, 0.0]]))[0]
    turn = -np.pi / 6
    expected = np.array([np.cos(turn) * 1 - np.sin(turn) * 2, np.sin(turn) * 1 + np.cos(turn) * 2, 0.0])
    np.testing.assert_allclose(quarter[3], expected, atol=1e-12)


def test_corners_of_annotations_follow_their_heading() -> None:
    for heading in np.linspace(-np.pi, np.pi, 9):
        box = annotated(float(heading))
        corners = box_corners_lidar_m(ground_truth_as_detection_boxes([box]))[0]
        np.testing.assert_allclose(corners, corners_from_heading(box), atol=1e-5)
        front_centre = corners[list(FRONT_CORNERS)].mean(axis=0)
        np.testing.assert_allclose(
            front_centre - box.center_m, [2 * np.cos(heading), 2 * np.sin(heading), 0], atol=1e-5
        )


def test_heading_and_yaw_invert_each_other() -> None:
    angles = np.linspace(-3.1, 3.1, 50)
    np.testing.assert_allclose(heading_from_yaw_rad(heading_from_yaw_rad(angles)), angles, atol=1e-12)


def test_edges_are_the_twelve_of_a_box() -> None:
    corners = box_corners_lidar_m(ground_truth_as_detection_boxes([annotated(0.3)]))[0]
    lengths = sorted(np.linalg.norm(corners[a] - corners[b]) for a, b in BOX_EDGES)
    np.testing.assert_allclose(lengths, [1.5] * 4 + [2.0] * 4 + [4.0] * 4, atol=1e-5)


def test_no_boxes() -> None:
    assert ground_truth_as_detection_boxes([]).shape == (0, 9)
    assert box_corners_lidar_m(np.zeros((0, 9), np.float32)).shape == (0, 8, 3)


@requires_shared_data
def test_annotations_of_a_real_keyframe() -> None:
    keyframe = json.loads((shared_data() / "nuscenes_scene_0061_keyframe" / "keyframe.json").read_text())
    boxes = []
    for annotation in keyframe["gt_boxes"]:
        length, width, height = annotation["length_width_height_m"]
        boxes.append(
            GroundTruthBox(
                category=annotation["category"],
                center_m=tuple(annotation["center_lidar_m"]),
                size_wlh_m=(width, length, height),
                yaw_rad=annotation["yaw_lidar_rad"],
                velocity_mps=tuple(annotation["velocity_lidar_mps"]),
            )
        )
    corners = box_corners_lidar_m(ground_truth_as_detection_boxes(boxes))
    assert len(boxes) == 68
    np.testing.assert_allclose(corners, np.stack([corners_from_heading(box) for box in boxes]), atol=1e-4)

    fast = [
        (box, box_corners)
        for box, box_corners in zip(boxes, corners, strict=True)
        if box.category in ("car", "truck", "bus") and np.hypot(*box.velocity_mps) > 2
    ]
    assert fast, "the keyframe holds moving vehicles"
    for box, box_corners in fast:
        forward = box_corners[list(FRONT_CORNERS)].mean(axis=0)[:2] - box.center_m[:2]
        along = np.dot(forward, box.velocity_mps) / (np.linalg.norm(forward) * np.hypot(*box.velocity_mps))
        assert along > 0.95


@requires_shared_data
def test_moving_cars_of_the_original_face_their_velocity() -> None:
    """The published weights' own detections: yaw and velocity are separate outputs, and agree."""
    with np.load(shared_data() / "nuscenes_scene_0103" / "frame0_official_detections.npz") as official:
        certain = (official["scores_3d"] > 0.5) & (official["labels_3d"] == 0)
        boxes = official["boxes_3d"][certain]
    moving = boxes[np.hypot(boxes[:, 7], boxes[:, 8]) > 1.5]
    assert len(moving) > 0
    heading = heading_from_yaw_rad(moving[:, 6])
    along = np.cos(heading) * moving[:, 7] + np.sin(heading) * moving[:, 8]
    np.testing.assert_array_less(0.9, along / np.hypot(moving[:, 7], moving[:, 8]))
