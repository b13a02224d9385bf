"""How well the speed of what moves is known: nuScenes' velocity error is mostly that of parked cars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from bevformer_lib.metrics.box_table import countable_boxes
from bevformer_lib.metrics.class_metrics import greedy_matches, pairs_of_class
from bevformer_lib.metrics.constants import CLASS_NAMES, ERROR_DISTANCE_M
from bevformer_lib.metrics.detection_metrics import records_of_frames
from bevformer_lib.metrics.eval_boxes import FrameTables, ScoredFrame

MOVING_MPS: Final = 0.5
"""Objects that are faster are taken to move."""


def moving_velocity_error_mps(frames: Sequence[ScoredFrame], class_names: Sequence[str]) -> float | None:
    """Return the mean length of the velocity's error over all moving objects found within 2 m; ``None`` without any.

    Boxes are filtered and matched as for NDS; every match counts alike, whatever its class and score.

    Raises:
        ConfigError: classes are none of nuScenes'.
    """
    annotated, predicted = records_of_frames(frames, class_names)
    tables, tokens = FrameTables(frames), list(annotated)
    wanted, given = (countable_boxes(records, tokens, tables) for records in (annotated, predicted))
    errors = []
    for label, name in enumerate(CLASS_NAMES):
        pairs = pairs_of_class(name, wanted.take(wanted.label == label), given.take(given.label == label))
        near = pairs.distance_m < ERROR_DISTANCE_M
        found, true = greedy_matches(pairs.given[near], pairs.wanted[near])
        velocity = pairs.truth.velocity_mps[true]
        moving = np.hypot(*velocity.T) > MOVING_MPS  # an unknown velocity is NaN, and not greater
        errors.append(np.hypot(*(pairs.found.velocity_mps[found] - velocity)[moving].T))
    every = np.concatenate(errors)
    return float(every.mean()) if len(every) else None
