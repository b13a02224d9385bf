"""Attributes for nuScenes' results: the model predicts none, so the original guesses them from class and speed.

Source: `NuScenesDataset._format_bbox` of mmdet3d 0.17, which the original BEVFormer's results are written with.
"""

from __future__ import annotations

from typing import Final

MOVING_MPS: Final = 0.2
"""Faster than this counts as moving."""
_MOVING: Final = {
    **dict.fromkeys(("car", "truck", "bus", "trailer", "construction_vehicle"), "vehicle.moving"),
    **dict.fromkeys(("bicycle", "motorcycle"), "cycle.with_rider"),
    "pedestrian": "pedestrian.moving",
}
_STANDING: Final = {
    **dict.fromkeys(("car", "truck", "trailer", "construction_vehicle"), "vehicle.parked"),
    **dict.fromkeys(("bicycle", "motorcycle"), "cycle.without_rider"),
    "bus": "vehicle.stopped",
    "pedestrian": "pedestrian.standing",
}


def attribute_of(category: str, speed_mps: float) -> str:
    """Return the attribute of a detection; empty for classes that have none (barriers, traffic cones)."""
    return (_MOVING if speed_mps > MOVING_MPS else _STANDING).get(category, "")
