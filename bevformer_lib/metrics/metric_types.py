"""What nuScenes' detection metric says of a model, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bevformer_lib.plain_data import to_plain

ERROR_NAMES: Final = ("translation", "scale", "orientation", "velocity", "attribute")
"""The five true-positive errors: m, 1 - IoU, rad, m/s, 1 - accuracy."""
ANNOTATIONS: Final = "annotations"
REFERENCE_MODEL: Final = "boxes of the float model (a proxy: it shows agreement, not quality)"


@dataclass(frozen=True)
class PrecisionRecall:
    """A curve of nuScenes' accumulation, interpolated at ``DetectionMetrics.recall_grid``.

    Attributes:
        match_distance_m: boxes nearer than this match.
        precision: at each recall; 0 beyond what was reached.
        confidence: score at which that recall is reached; 0 beyond.
    """

    match_distance_m: float
    precision: tuple[float, ...]
    confidence: tuple[float, ...]


@dataclass(frozen=True)
class TruePositiveErrors:
    """Mean errors of boxes that match within 2 m; ``None`` where nuScenes defines none for a class.

    Attributes:
        translation: m, in the ground plane.
        scale: 1 - IoU of aligned boxes.
        orientation: rad.
        velocity: m/s.
        attribute: 1 - accuracy.
    """

    translation: float | None
    scale: float | None
    orientation: float | None
    velocity: float | None
    attribute: float | None


@dataclass(frozen=True)
class ClassMetrics:
    """One class, over all frames.

    Attributes:
        ground_truth: annotated boxes that count (in range, with points, in no bicycle rack).
        predictions: predicted boxes that count.
        ap: mean over the match distances.
        ap_at_m: AP by match distance in metres.
        errors: 1 each where the class has no match (nuScenes' convention).
        curves: one per match distance.
    """

    ground_truth: int
    predictions: int
    ap: float
    ap_at_m: Mapping[float, float]
    errors: TruePositiveErrors
    curves: tuple[PrecisionRecall, ...]


@dataclass(frozen=True)
class SubsetMetrics:
    """A scene, or a band of distances; averaged over the classes that are annotated there.

    Attributes:
        ground_truth: annotated boxes that count there.
        predictions: predicted boxes that count there.
        mean_ap: ``None`` where nothing is annotated.
        nds: ``None`` where nothing is annotated, or an error is defined for none of the classes.
        ap: by class that is annotated there.
    """

    frames: int
    ground_truth: int
    predictions: int
    mean_ap: float | None
    nds: float | None
    ap: Mapping[str, float]


@dataclass(frozen=True)
class DistanceBand:
    """Boxes at one distance from the car: both annotated and predicted ones lie in the band.

    Attributes:
        nearest_m: included.
        farthest_m: excluded.
    """

    nearest_m: float
    farthest_m: float
    metrics: SubsetMetrics


@dataclass(frozen=True)
class DetectionMetrics:
    """nuScenes' detection metric (`detection_cvpr_2019`), as nuscenes-devkit computes it.

    Attributes:
        mean_ap: mean over the ten classes; one that is not annotated counts 0, as in the devkit.
        errors: means over classes; one that is not annotated counts 1, as in the devkit.
        truth: what was compared with: ``ANNOTATIONS``, or ``REFERENCE_MODEL``.
        ground_truth: annotated boxes that count.
        predictions: predicted boxes that count.
        classes_without_truth: classes of which no annotated box counts.
        recall_grid: recalls at which the curves are given.
        bands: by distance from the car.
    """

    nds: float
    mean_ap: float
    errors: TruePositiveErrors
    truth: str
    frames: int
    ground_truth: int
    predictions: int
    classes_without_truth: tuple[str, ...]
    recall_grid: tuple[float, ...]
    classes: Mapping[str, ClassMetrics]
    bands: tuple[DistanceBand, ...]
    scenes: Mapping[str, SubsetMetrics]

    @property
    def worst_scene(self) -> str | None:
        """The scene with the lowest mean AP; ``None`` where nothing is annotated."""
        scored = {name: scene.mean_ap for name, scene in self.scenes.items() if scene.mean_ap is not None}
        return min(scored, key=lambda name: scored[name]) if scored else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, with the field's names ``NDS`` and ``mAP`` on top."""
        return {"NDS": self.nds, "mAP": self.mean_ap, **to_plain(self)}
