"""Annotated boxes as the meta files hold them (`gt_boxes`, an addition of ours to the published format)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bevformer_lib.scenes.types import GroundTruthBox

_REQUIRED_KEYS = ("category", "center_m", "size_wlh_m", "yaw_rad", "velocity_mps")
_LARGEST = 1e6
"""Largest number of a box: metres from the LiDAR, metres per second, radians."""
_OPTIONAL_KEYS = ("num_lidar_pts", "num_radar_pts", "attribute", "velocity_known")


def gt_boxes_to_json(boxes: Sequence[GroundTruthBox]) -> list[dict[str, Any]]:
    """Return ``boxes`` as plain JSON data; keys, frame and units are those of :class:`GroundTruthBox`."""
    return [_box_to_json(box) for box in boxes]


def gt_boxes_from_json(content: object, key: str = "gt_boxes") -> tuple[GroundTruthBox, ...]:
    """Read what :func:`gt_boxes_to_json` made.

    Raises:
        ValueError: ``content`` is malformed; the message names the box by its position and the key.
    """
    if not isinstance(content, list):
        raise ValueError(f"{key} must be a list of boxes, not {_kind(content)}")
    return tuple(_box_from_json(box, f"{key}[{position}]") for position, box in enumerate(content))


def _box_to_json(box: GroundTruthBox) -> dict[str, Any]:
    content: dict[str, Any] = {
        "category": box.category,
        "center_m": [float(value) for value in box.center_m],
        "size_wlh_m": [float(value) for value in box.size_wlh_m],
        "yaw_rad": float(box.yaw_rad),
        "velocity_mps": [float(value) for value in box.velocity_mps],
    }
    if box.num_lidar_pts is not None:
        content["num_lidar_pts"] = int(box.num_lidar_pts)
    if box.num_radar_pts is not None:
        content["num_radar_pts"] = int(box.num_radar_pts)
    if box.attribute is not None:
        content["attribute"] = box.attribute
    if not box.velocity_known:
        content["velocity_known"] = False
    return content


def _box_from_json(content: object, where: str) -> GroundTruthBox:
    if not isinstance(content, Mapping):
        raise ValueError(f"{where} must be an object, not {_kind(content)}")
    missing = [key for key in _REQUIRED_KEYS if key not in content]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    unknown = sorted(set(content) - {*_REQUIRED_KEYS, *_OPTIONAL_KEYS})
    if unknown:
        raise ValueError(f"{where} has unknown keys: {', '.join(unknown)}")
    category = content["category"]
    if not isinstance(category, str) or not category:
        raise ValueError(f"{where}.category must be a class name, not {category!r}")
    x, y, z = _numbers(content["center_m"], 3, f"{where}.center_m")
    width, length, height = _numbers(content["size_wlh_m"], 3, f"{where}.size_wlh_m")
    if min(width, length, height) <= 0.0:
        raise ValueError(f"{where}.size_wlh_m must be positive, not {content['size_wlh_m']}")
    (yaw_rad,) = _numbers([content["yaw_rad"]], 1, f"{where}.yaw_rad")
    vx, vy = _numbers(content["velocity_mps"], 2, f"{where}.velocity_mps")
    attribute = content.get("attribute")
    if attribute is not None and (not isinstance(attribute, str) or not attribute):
        raise ValueError(f"{where}.attribute must be an attribute name, not {attribute!r}")
    velocity_known = content.get("velocity_known", True)
    if not isinstance(velocity_known, bool):
        raise ValueError(f"{where}.velocity_known must be true or false, not {velocity_known!r}")
    return GroundTruthBox(
        category=category,
        center_m=(x, y, z),
        size_wlh_m=(width, length, height),
        yaw_rad=yaw_rad,
        velocity_mps=(vx, vy),
        num_lidar_pts=_count(content.get("num_lidar_pts"), f"{where}.num_lidar_pts"),
        num_radar_pts=_count(content.get("num_radar_pts"), f"{where}.num_radar_pts"),
        attribute=attribute,
        velocity_known=velocity_known,
    )


def _numbers(content: object, count: int, where: str) -> list[float]:
    if not isinstance(content, list) or len(content) != count:
        raise ValueError(f"{where} must be a list of {count} numbers, not {content!r}")
    for value in content:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{where} must be finite, not {value!r:.80}")
        if abs(value) > _LARGEST:
            raise ValueError(f"{where} is {value:g}; nothing there is larger than {_LARGEST:g}")
    return [float(value) for value in content]


def _count(content: object, where: str) -> int | None:
    if content is None:
        return None
    if isinstance(content, bool) or not isinstance(content, int) or content < 0:
        raise ValueError(f"{where} must be a count, not {content!r}")
    return content


def _kind(content: object) -> str:
    return type(content).__name__
