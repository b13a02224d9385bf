"""Detections, and what a comparison of two models over a scene found: what metrics and reports share.

Everything here is plain data that goes to JSON and back unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.fidelity import Fidelity

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True)
class Detections:
    """Boxes of one frame, best score first.

    Attributes:
        boxes: (n, 9) float32: x, y, z of the BOTTOM centre (m, LiDAR frame: x right, y forward, z up), width,
            length, height (m), yaw (rad; corners turn by -yaw counter-clockwise about z, as the original
            decodes it), vx, vy (m/s).
        scores: (n,) float32 in (0, 1).
        labels: (n,) int64, index into the class names.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists; numbers carry the fewest digits that give the same float32 back."""
        return {
            "boxes": _shortest_digits(self.boxes),
            "scores": _shortest_digits(self.scores),
            "labels": self.labels.tolist(),
        }

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read and write lists."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            _of_lists,
            handler.generate_schema(_Lists),
            serialization=core_schema.plain_serializer_function_ser_schema(cls.to_dict),
        )


@dataclass(frozen=True)
class _Lists:
    """Detections as they are written."""

    boxes: list[tuple[float, float, float, float, float, float, float, float, float]]
    scores: list[float]
    labels: list[int]


def _of_lists(lists: _Lists) -> Detections:
    if not len(lists.boxes) == len(lists.scores) == len(lists.labels):
        raise ValueError("there are not as many boxes as scores and labels")
    return Detections(
        boxes=np.array(lists.boxes, dtype=np.float32).reshape(-1, 9),
        scores=np.array(lists.scores, dtype=np.float32),
        labels=np.array(lists.labels, dtype=np.int64),
    )


@dataclass(frozen=True)
class Agreement:
    """How far two models' boxes are the same: one frame, or summed over many.

    Attributes:
        matched: pairs of one class within the matching distance; no box is in two pairs.
        center_distance_sum_m: summed over the pairs, in the ground plane.
        score_difference_sum: absolute differences summed over the pairs.
    """

    reference_boxes: int
    candidate_boxes: int
    matched: int
    center_distance_sum_m: float
    score_difference_sum: float

    @property
    def reference_matched_share(self) -> float | None:
        """Share of the reference's boxes that the candidate found; ``None`` without any."""
        return ratio(self.matched, self.reference_boxes)

    @property
    def candidate_matched_share(self) -> float | None:
        """Share of the candidate's boxes that the reference has too; ``None`` without any."""
        return ratio(self.matched, self.candidate_boxes)

    @property
    def mean_center_distance_m(self) -> float | None:
        """Mean over the pairs; ``None`` without any."""
        return ratio(self.center_distance_sum_m, self.matched)

    @property
    def mean_score_difference(self) -> float | None:
        """Mean absolute difference over the pairs; ``None`` without any."""
        return ratio(self.score_difference_sum, self.matched)


@dataclass(frozen=True)
class ClassCounts:
    """Detections of one class against annotations: one frame, or summed over many.

    Attributes:
        annotated: annotated objects that count.
        matched: boxes that found an object of their own.
    """

    annotated: int
    detected: int
    matched: int

    @property
    def precision(self) -> float | None:
        """Share of the boxes that found an object; ``None`` without boxes."""
        return ratio(self.matched, self.detected)

    @property
    def recall(self) -> float | None:
        """Share of the objects that were found; ``None`` without objects."""
        return ratio(self.matched, self.annotated)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; ``None`` with neither boxes nor objects."""
        return ratio(2 * self.matched, self.detected + self.annotated)


@dataclass(frozen=True)
class TruthComparison:
    """Both models against the annotations, by class name; a class that occurs nowhere is left out."""

    reference: Mapping[str, ClassCounts]
    candidate: Mapping[str, ClassCounts]


@dataclass(frozen=True)
class FrameSeconds:
    """Wall-clock seconds of one frame.

    Attributes:
        decode: reading and preparing the images, once for both models.
        reference: the reference's inference; ``None`` where a recording stood for it.
    """

    decode: float
    reference: float | None
    candidate: float


@dataclass(frozen=True)
class FrameEvaluation:
    """One frame, run by both models.

    Attributes:
        index: the frame's number in its file names.
        truth: against the annotations, or ``None`` where the frame has none.
        seconds: how long it took; the one thing here that differs from run to run.
    """

    index: int
    fidelity: Mapping[str, Fidelity]
    agreement: Agreement
    truth: TruthComparison | None
    seconds: FrameSeconds
    reference: Detections
    candidate: Detections


@dataclass(frozen=True)
class SceneEvaluation:
    """A scene, run by both models, each fed its own prev_bev states.

    Attributes:
        class_names: in the order of the labels.
        score_threshold: boxes at or below were dropped; ``None``: no threshold.
        match_distance_m: centres farther apart than this are not the same object.
        frames: in time order; the first was fed zeros.
    """

    scene: str
    class_names: tuple[str, ...]
    score_threshold: float | None
    match_distance_m: float
    frames: tuple[FrameEvaluation, ...]


def ratio(part: float, whole: float) -> float | None:
    """Return ``part / whole``; ``None`` where there is nothing to divide by."""
    return part / whole if whole else None


def _shortest_digits(values: NDArray[np.float32]) -> list[Any]:
    shortest: list[Any] = values.astype(str).astype(np.float64).tolist()
    return shortest
