"""nuScenes' configuration of the detection task, `detection_cvpr_2019`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CLASS_RANGES_M: Final[Mapping[str, float]] = {
    "car": 50.0,
    "truck": 50.0,
    "bus": 50.0,
    "trailer": 50.0,
    "construction_vehicle": 50.0,
    "pedestrian": 40.0,
    "motorcycle": 40.0,
    "bicycle": 40.0,
    "traffic_cone": 30.0,
    "barrier": 30.0,
}
"""The ten classes in nuScenes' order; boxes from this distance to the car's origin on don't count."""
CLASS_NAMES: Final = tuple(CLASS_RANGES_M)
RACKED_CLASSES: Final = ("bicycle", "motorcycle")
"""Boxes of these classes inside a bicycle rack don't count."""
MATCH_DISTANCES_M: Final = (0.5, 1.0, 2.0, 4.0)
"""AP is the mean over these."""
ERROR_DISTANCE_M: Final = 2.0
"""Matches nearer than this make the true-positive errors."""
MIN_RECALL: Final = 0.1
MIN_PRECISION: Final = 0.1
RECALLS: Final = 101
"""Points of a curve, from recall 0 to 1."""
MEAN_AP_WEIGHT: Final = 5
"""Of mAP in NDS, where each error's score weighs 1."""
UNDEFINED_ERRORS: Final[Mapping[str, tuple[str, ...]]] = {
    "traffic_cone": ("attribute", "velocity", "orientation"),
    "barrier": ("attribute", "velocity"),
}
"""Errors that nuScenes defines for all classes but these."""
HALF_TURN_CLASS: Final = "barrier"
"""The class whose heading is known up to half a turn."""
