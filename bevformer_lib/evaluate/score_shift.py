"""How the scores of the same object moved between two models, class by class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bevformer_lib.detections.matching import match_boxes
from bevformer_lib.detections.types import SceneEvaluation


@dataclass(frozen=True)
class ScoreShift:
    """Candidate minus reference over the boxes that both models have.

    Attributes:
        pairs: boxes of the class that both have, within the matching distance.
        mean: mean shift; ``None`` without pairs. A class below zero is detected later by any fixed threshold.
        mean_absolute: mean size of the shift; ``None`` without pairs.
        largest: the shift farthest from zero, with its sign; ``None`` without pairs.
    """

    class_name: str
    pairs: int
    mean: float | None
    mean_absolute: float | None
    largest: float | None


def score_shifts(evaluations: Sequence[SceneEvaluation]) -> tuple[ScoreShift, ...]:
    """Return the shift of every class, in the order of the labels; frames of all scenes together."""
    found: dict[str, list[float]] = defaultdict(list)
    names: tuple[str, ...] = ()
    for evaluation in evaluations:
        names = evaluation.class_names
        for frame in evaluation.frames:
            reference, candidate = frame.reference, frame.candidate
            matches = match_boxes(
                candidate.boxes[:, :2],
                candidate.labels,
                reference.boxes[:, :2],
                reference.labels,
                max_distance_m=evaluation.match_distance_m,
            )
            shifts = candidate.scores[matches.first].astype(np.float64) - reference.scores[matches.second]
            for label, shift in zip(candidate.labels[matches.first].tolist(), shifts.tolist(), strict=True):
                found[names[label]].append(shift)
    return tuple(_shift(name, found[name]) for name in names)


def _shift(name: str, shifts: Sequence[float]) -> ScoreShift:
    if not shifts:
        return ScoreShift(name, 0, None, None, None)
    return ScoreShift(
        class_name=name,
        pairs=len(shifts),
        mean=float(np.mean(shifts)),
        mean_absolute=float(np.mean(np.abs(shifts))),
        largest=max(shifts, key=abs),
    )
