"""Boxes of many frames as columns, and nuScenes' rules of which of them count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.metrics.constants import CLASS_NAMES, CLASS_RANGES_M, RACKED_CLASSES
from bevformer_lib.nuscenes.annotations import BICYCLE_RACK


@dataclass(frozen=True)
class BoxTable:
    """n boxes, in the order of their frames, all in one frame of coordinates with z up.

    Attributes:
        frame: (n,) number of the frame.
        center_m: (n, 3).
        size_m: (n, 3) width, length, height.
        rotation: (n, 4) quaternions w, x, y, z.
        velocity_mps: (n, 2); NaN where unknown.
        points: (n,) LiDAR and radar points inside; -1 where not counted, as for predictions.
        label: (n,) index into ``CLASS_NAMES``.
        score: (n,); -1 for annotations.
        attribute: (n,) names; empty for none.
        distance_m: (n,) from the car's origin, in the ground plane.
    """

    frame: NDArray[np.int64]
    center_m: NDArray[np.float64]
    size_m: NDArray[np.float64]
    rotation: NDArray[np.float64]
    velocity_mps: NDArray[np.float64]
    points: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    attribute: NDArray[np.str_]
    distance_m: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, kept: NDArray[np.bool_]) -> BoxTable:
        """Return the boxes where a mask (n,) is true."""
        return BoxTable(*(getattr(self, field.name)[kept] for field in fields(self)))


def countable_boxes(records: Mapping[str, Sequence[Mapping[str, Any]]], tokens: Sequence[str], tables: Any) -> BoxTable:
    """Return the boxes that count: within their class's range, not without points, in no bicycle rack.

    Args:
        records: boxes by sample token, in the form of nuScenes' results file.
        tokens: samples to take, in their order; a frame's number is its place here.
        tables: where samples, poses and bicycle racks are looked up by ``get(table, token)``, as in ``NuScenes``.
    """
    rows = [(number, record) for number, token in enumerate(tokens) for record in records.get(token, ())]
    frame = np.array([number for number, _ in rows], dtype=np.int64)
    center = _column(rows, "translation", 3)
    label = np.array([CLASS_NAMES.index(record["detection_name"]) for _, record in rows], dtype=np.int64)
    origins = np.array([_car_origin(tables, token) for token in tokens], dtype=np.float64).reshape(-1, 3)
    ahead = center[:, :2] - origins[frame, :2]
    table = BoxTable(
        frame=frame,
        center_m=center,
        size_m=_column(rows, "size", 3),
        rotation=_column(rows, "rotation", 4),
        velocity_mps=_column(rows, "velocity", 2),
        points=np.array([record.get("num_pts", -1) for _, record in rows], dtype=np.int64),
        label=label,
        score=np.array([record.get("detection_score", -1.0) for _, record in rows], dtype=np.float64),
        attribute=np.array([record["attribute_name"] for _, record in rows], dtype=np.str_),
        distance_m=np.sqrt(np.sum(ahead**2, axis=1)),
    )
    ranges = np.array(list(CLASS_RANGES_M.values()))
    table = table.take((table.distance_m < ranges[label]) & (table.points != 0))
    return table.take(~_in_racks(table, tokens, tables))


def _column(rows: Sequence[tuple[int, Mapping[str, Any]]], key: str, width: int) -> NDArray[np.float64]:
    return np.array([record[key] for _, record in rows], dtype=np.float64).reshape(-1, width)


def _car_origin(tables: Any, token: str) -> Sequence[float]:
    sample_data = tables.get("sample_data", tables.get("sample", token)["data"]["LIDAR_TOP"])
    origin: Sequence[float] = tables.get("ego_pose", sample_data["ego_pose_token"])["translation"]
    return origin


def _in_racks(table: BoxTable, tokens: Sequence[str], tables: Any) -> NDArray[np.bool_]:
    """Return (n,): the centre of a bicycle or motorcycle lies in a rack of its frame, borders included."""
    racked = np.zeros(len(table), dtype=np.bool_)
    rideable = np.isin(table.label, [CLASS_NAMES.index(name) for name in RACKED_CLASSES])
    for number in np.unique(table.frame[rideable]):
        inside = np.flatnonzero(rideable & (table.frame == number))
        for annotation in tables.get("sample", tokens[number])["anns"]:
            rack = tables.get("sample_annotation", annotation)
            if rack["category_name"] == BICYCLE_RACK:
                local = (table.center_m[inside] - np.array(rack["translation"])) @ rotation_matrix(rack["rotation"])
                width, length, height = rack["size"]
                racked[inside] |= np.all(np.abs(local) <= np.array([length, width, height]) / 2.0, axis=1)
    return racked


def rotation_matrix(quaternion: Sequence[float]) -> NDArray[np.float64]:
    """Return the (3, 3) rotation of a quaternion w, x, y, z of any length."""
    w, x, y, z = np.asarray(quaternion, dtype=np.float64) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
