"""Annotations of a keyframe, in the LiDAR frame, with what nuScenes' detection metric asks of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from bevformer_lib.nuscenes.devkit import LIDAR_CHANNEL
from bevformer_lib.nuscenes.poses import sensor_pose
from bevformer_lib.scenes.types import GroundTruthBox

BICYCLE_RACK: Final = "static_object.bicycle_rack"
"""nuScenes' category of the areas in which bicycles and motorcycles are not counted."""


OUTSIDE_OF_DETECTION: Final = frozenset(
    {
        "animal",
        "human.pedestrian.personal_mobility",
        "human.pedestrian.stroller",
        "human.pedestrian.wheelchair",
        "movable_object.debris",
        "movable_object.pushable_pullable",
        "vehicle.emergency.ambulance",
        "vehicle.emergency.police",
    }
)
"""nuScenes' categories that the detection task leaves out."""


def foreign_categories(dataset: Any, samples: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many annotations of keyframes are of a category that is none of nuScenes', by category."""
    from nuscenes.eval.detection.utils import category_to_detection_name

    categories = Counter(
        str(dataset.get("sample_annotation", token)["category_name"]) for sample in samples for token in sample["anns"]
    )
    return {
        name: count
        for name, count in sorted(categories.items())
        if name != BICYCLE_RACK and name not in OUTSIDE_OF_DETECTION and category_to_detection_name(name) is None
    }


def annotated_boxes(
    dataset: Any, sample: Mapping[str, Any]
) -> tuple[tuple[GroundTruthBox, ...], tuple[GroundTruthBox, ...]]:
    """Return a keyframe's annotations of the ten detection classes, and its bicycle racks.

    Other categories have no place in the detection task. The heading is that of the length axis in the LiDAR's
    ground plane, the velocity is ``NuScenes.box_velocity`` turned into the LiDAR frame.
    """
    from nuscenes.eval.common.utils import quaternion_yaw
    from nuscenes.eval.detection.utils import category_to_detection_name

    lidar = sample["data"][LIDAR_CHANNEL]
    global_to_lidar = np.linalg.inv(sensor_pose(dataset, sample, LIDAR_CHANNEL).sensor_to_global)
    boxes: list[GroundTruthBox] = []
    racks: list[GroundTruthBox] = []
    for box in dataset.get_sample_data(lidar)[1]:
        annotation = dataset.get("sample_annotation", box.token)
        is_rack = annotation["category_name"] == BICYCLE_RACK
        category = "bicycle_rack" if is_rack else category_to_detection_name(annotation["category_name"])
        if category is None:
            continue
        velocity_global = dataset.box_velocity(box.token)
        known = bool(np.isfinite(velocity_global[:2]).all())
        velocity = global_to_lidar[:3, :3] @ (*velocity_global[:2], 0.0) if known else np.zeros(3)
        attributes = [dataset.get("attribute", token)["name"] for token in annotation["attribute_tokens"]]
        x, y, z = (float(value) for value in box.center)
        width, length, height = (float(value) for value in box.wlh)
        (racks if is_rack else boxes).append(
            GroundTruthBox(
                category=category,
                center_m=(x, y, z),
                size_wlh_m=(width, length, height),
                yaw_rad=float(quaternion_yaw(box.orientation)),
                velocity_mps=(float(velocity[0]), float(velocity[1])),
                num_lidar_pts=annotation["num_lidar_pts"],
                num_radar_pts=annotation["num_radar_pts"],
                attribute=attributes[0] if attributes else None,
                velocity_known=known,
            )
        )
    return tuple(boxes), tuple(racks)
