"""Frames, their annotations and their detections in the terms of nuScenes' tables, without a database.

Boxes are compared in the global frame where a scene gives its poses, else in the LiDAR frame, which differs by the
car's tilt alone. nuScenes measures a box's range from the car's origin; where a scene does not say where that is, the
LiDAR (0.94 m ahead of it in nuScenes) takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.detections.geometry import heading_from_yaw_rad
from bevformer_lib.detections.types import Detections
from bevformer_lib.errors import ConfigError
from bevformer_lib.metrics.attributes import attribute_of
from bevformer_lib.metrics.constants import CLASS_NAMES
from bevformer_lib.nuscenes.annotations import BICYCLE_RACK
from bevformer_lib.scenes.types import Frame, GroundTruthBox

_SMALLEST_M = float(np.finfo(np.float32).tiny)
"""A size that underflowed; the devkit refuses sizes of 0."""


@dataclass(frozen=True)
class ScoredFrame:
    """One frame to score.

    Attributes:
        frame: the frame; where ``ground_truth`` comes from elsewhere, only its poses and racks are used.
    """

    scene: str
    frame: Frame
    detections: Detections
    ground_truth: Sequence[GroundTruthBox]

    @property
    def token(self) -> str:
        """A name that no other frame has."""
        return f"{self.scene}/{self.frame.index}"

    @property
    def lidar_to_common(self) -> NDArray[np.float64]:
        """(4, 4): LiDAR frame to the frame that this frame's boxes are compared in."""
        if self.frame.lidar_to_ego is None or self.frame.ego_to_global is None:
            return np.eye(4)
        return np.asarray(self.frame.ego_to_global @ self.frame.lidar_to_ego)

    @property
    def ego_position_m(self) -> list[float]:
        """The car's origin (x, y, z) in the frame that boxes are compared in."""
        if self.frame.lidar_to_ego is None:
            return [0.0, 0.0, 0.0]
        if self.frame.ego_to_global is None:
            position: list[float] = np.linalg.inv(self.frame.lidar_to_ego)[:3, 3].tolist()
        else:
            position = self.frame.ego_to_global[:3, 3].tolist()
        return position


class FrameTables:
    """The few records that the filters of boxes ask a database for."""

    def __init__(self, frames: Sequence[ScoredFrame]) -> None:
        self._records: dict[tuple[str, str], dict[str, Any]] = {}
        for frame in frames:
            racks = racks_as_annotations(frame)
            tokens = [f"{frame.token}/rack {number}" for number in range(len(racks))]
            self._records["sample", frame.token] = {"data": {"LIDAR_TOP": frame.token}, "anns": tokens}
            self._records["sample_data", frame.token] = {"ego_pose_token": frame.token}
            self._records["ego_pose", frame.token] = {"translation": frame.ego_position_m}
            self._records.update({("sample_annotation", key): rack for key, rack in zip(tokens, racks, strict=True)})

    def get(self, table: str, token: str) -> dict[str, Any]:
        """Return a record, as ``NuScenes.get`` does."""
        return self._records[table, token]


def predictions_as_records(
    detections: Detections, class_names: Sequence[str], sample_token: str, lidar_to_target: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Return detections in the form of nuScenes' results file.

    Args:
        detections: in the LiDAR frame.
        class_names: in the order of the labels.
        sample_token: of the frame.
        lidar_to_target: (4, 4) into the frame of the records; the global one for a results file.
    """
    boxes = detections.boxes.astype(np.float64)
    centers = boxes[:, :3] + np.outer(boxes[:, 5] / 2.0, (0.0, 0.0, 1.0))
    headings = heading_from_yaw_rad(boxes[:, 6])
    centers, rotations, velocities = moved(centers, headings, boxes[:, 7:9], lidar_to_target)
    speeds = np.hypot(velocities[:, 0], velocities[:, 1])
    names = [class_names[label] for label in detections.labels]
    return [
        {
            "sample_token": sample_token,
            "translation": center,
            "size": size,
            "rotation": rotation,
            "velocity": velocity,
            "detection_name": name,
            "detection_score": score,
            "attribute_name": attribute_of(name, speed),
        }
        for center, size, rotation, velocity, name, score, speed in zip(
            centers.tolist(),
            np.maximum(boxes[:, 3:6], _SMALLEST_M).tolist(),
            rotations.tolist(),
            velocities.tolist(),
            names,
            detections.scores.astype(np.float64).tolist(),
            speeds.tolist(),
            strict=True,
        )
    ]


def ground_truth_as_records(frame: ScoredFrame) -> list[dict[str, Any]]:
    """Return a frame's annotations in the form of ``DetectionBox.deserialize``; unknown velocities are NaN.

    Raises:
        ConfigError: a category is none of nuScenes' ten detection classes.
    """
    unknown = sorted({box.category for box in frame.ground_truth} - set(CLASS_NAMES))
    if unknown:
        raise ConfigError(
            f"{frame.frame.meta_path}: boxes of class {', '.join(unknown)}; nuScenes' metric knows "
            f"{', '.join(CLASS_NAMES)}"
        )
    return [
        {
            **record,
            "velocity": record["velocity"] if box.velocity_known else [float("nan")] * 2,
            "num_pts": -1 if box.num_lidar_pts is None else box.num_lidar_pts + (box.num_radar_pts or 0),
            "detection_name": box.category,
            "attribute_name": box.attribute or "",
        }
        for box, record in zip(frame.ground_truth, _placed(frame.ground_truth, frame), strict=True)
    ]


def racks_as_annotations(frame: ScoredFrame) -> list[dict[str, Any]]:
    """Return a frame's bicycle racks as records of ``sample_annotation``."""
    racks = frame.frame.bicycle_racks
    return [{**record, "category_name": BICYCLE_RACK} for record in _placed(racks, frame)]


def detections_as_ground_truth(
    detections: Detections, class_names: Sequence[str], *, score_threshold: float
) -> tuple[GroundTruthBox, ...]:
    """Return a model's boxes above a score as if they were annotations, to measure another model's agreement."""
    boxes = detections.boxes.astype(np.float64)
    headings = heading_from_yaw_rad(boxes[:, 6])
    truth = []
    for box, heading, score, label in zip(boxes, headings, detections.scores, detections.labels, strict=True):
        if score > score_threshold:
            name = class_names[label]
            truth.append(
                GroundTruthBox(
                    category=name,
                    center_m=(float(box[0]), float(box[1]), float(box[2] + box[5] / 2.0)),
                    size_wlh_m=(float(box[3]), float(box[4]), float(box[5])),
                    yaw_rad=float(heading),
                    velocity_mps=(float(box[7]), float(box[8])),
                    attribute=attribute_of(name, float(np.hypot(box[7], box[8]))) or None,
                )
            )
    return tuple(truth)


def moved(
    centers_m: NDArray[np.float64],
    headings_rad: NDArray[np.float64],
    velocities_mps: NDArray[np.float64],
    transform: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Move upright boxes into another frame.

    Args:
        centers_m: (n, 3).
        headings_rad: (n,) counter-clockwise about z from the x axis.
        velocities_mps: (n, 2).
        transform: (4, 4), rigid.

    Returns:
        Centres (n, 3), rotations (n, 4) as quaternions w, x, y, z, and velocities (n, 2).
    """
    w, x, y, z = _quaternion(transform[:3, :3])
    cos, sin = np.cos(headings_rad / 2.0), np.sin(headings_rad / 2.0)
    rotations = np.stack([w * cos - z * sin, x * cos + y * sin, y * cos - x * sin, w * sin + z * cos], axis=1)
    return (
        centers_m @ transform[:3, :3].T + transform[:3, 3],
        rotations,
        velocities_mps @ transform[:2, :2].T,
    )


def _placed(boxes: Sequence[GroundTruthBox], frame: ScoredFrame) -> list[dict[str, Any]]:
    """Return position, size, rotation and velocity of boxes in the frame that boxes are compared in."""
    transform = frame.lidar_to_common
    yaws = np.array([box.yaw_rad for box in boxes], dtype=np.float64)
    ahead = _leveled(np.stack([np.cos(yaws), np.sin(yaws)], axis=1), transform)
    velocities = _leveled(np.array([box.velocity_mps for box in boxes], dtype=np.float64).reshape(-1, 2), transform)
    centers = np.array([box.center_m for box in boxes], dtype=np.float64).reshape(-1, 3)
    half_headings = np.arctan2(ahead[:, 1], ahead[:, 0]) / 2.0
    zeros = np.zeros_like(half_headings)
    return [
        {
            "sample_token": frame.token,
            "translation": center,
            "size": list(box.size_wlh_m),
            "rotation": rotation,
            "velocity": velocity,
        }
        for box, center, rotation, velocity in zip(
            boxes,
            (centers @ transform[:3, :3].T + transform[:3, 3]).tolist(),
            np.stack([np.cos(half_headings), zeros, zeros, np.sin(half_headings)], axis=1).tolist(),
            velocities.tolist(),
            strict=True,
        )
    ]


def _leveled(vectors: NDArray[np.float64], transform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 2) in the target frame of horizontal vectors there, of which x and y in the LiDAR frame are known.

    Annotations stand upright in the global frame, and so do their headings and velocities lie level there; what the
    metas leave out, the z of a tilted LiDAR, follows from that.
    """
    rotation = transform[:3, :3]
    z = -(vectors @ rotation[2, :2]) / rotation[2, 2]
    return np.asarray(np.column_stack([vectors, z]) @ rotation[:2].T)


def _quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit quaternion w, x, y, z of a rotation (3, 3): the row of 4 q q^T whose diagonal is largest."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation.tolist()
    products = np.array(
        [
            [1 + xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, 1 + xx - yy - zz, yx + xy, xz + zx],
            [xz - zx, yx + xy, 1 - xx + yy - zz, zy + yz],
            [yx - xy, xz + zx, zy + yz, 1 - xx - yy + zz],
        ]
    )
    row = products[np.argmax(np.diag(products))]
    return np.asarray(row / np.linalg.norm(row))
