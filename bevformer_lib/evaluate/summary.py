"""What the comparison of two models found over all scenes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bevformer_lib.detections.types import Agreement, ClassCounts, FrameEvaluation, SceneEvaluation, TruthComparison
from bevformer_lib.errors import BevformerError
from bevformer_lib.fidelity import Fidelity
from bevformer_lib.names import OUTPUT_BEV_EMBED

STAGES = ("decode", "reference", "candidate")
"""Stages of a frame that are timed, in order."""


@dataclass(frozen=True)
class FramePlace:
    """A frame to look at.

    Attributes:
        index: the frame's number in its file names.
        position: 0 for the scene's first frame.
    """

    scene: str
    index: int
    position: int


@dataclass(frozen=True)
class OutputSummary:
    """Fidelity of one output over all frames; frames with values that are not finite are counted, not averaged.

    Attributes:
        frames_not_finite: frames in which the reference or the candidate has a value that is not finite.
        not_finite_at: the first of these.
    """

    mean_cosine: float | None
    worst_cosine: float | None
    worst_cosine_at: FramePlace | None
    mean_relative_error: float | None
    worst_relative_error: float | None
    worst_relative_error_at: FramePlace | None
    max_abs_error: float | None
    frames_not_finite: int
    not_finite_at: FramePlace | None


@dataclass(frozen=True)
class DriftPoint:
    """Fidelity of ``bev_embed`` at one position in a scene, over the scenes that are that long.

    Attributes:
        position: frames since the scene's first.
        frames: how many frames have it, without those whose values are not finite.
    """

    position: int
    frames: int
    mean_cosine: float
    worst_cosine: float
    mean_relative_error: float
    worst_relative_error: float


@dataclass(frozen=True)
class Latency:
    """Seconds per frame of one stage, over ``frames`` frames; scenes' first frames are left out as warm-up."""

    median_s: float
    p95_s: float
    frames: int


@dataclass(frozen=True)
class EvaluationSummary:
    """All scenes together.

    Attributes:
        class_names: in the order of the labels.
        score_threshold: boxes at or below were dropped; ``None``: no threshold.
        match_distance_m: centres farther apart than this are not the same object.
        outputs: fidelity by output name.
        drift: fidelity of ``bev_embed`` by position, in order.
        agreement: sums over all frames.
        truth: sums over the annotated frames; ``None`` where there are none.
        latency: by stage (``STAGES``); ``None`` where no scene has a second frame, or a recording stood for a model.
    """

    scenes: int
    frames: int
    annotated_frames: int
    class_names: tuple[str, ...]
    score_threshold: float | None
    match_distance_m: float
    outputs: Mapping[str, OutputSummary]
    drift: tuple[DriftPoint, ...]
    agreement: Agreement
    truth: TruthComparison | None
    latency: Mapping[str, Latency | None]


def summarize(evaluations: Sequence[SceneEvaluation]) -> EvaluationSummary:
    """Summarise scenes that were evaluated alike.

    Raises:
        BevformerError: there is no frame at all, or the scenes were evaluated with different thresholds or
            classes.
    """
    frames = list(_places(evaluations))
    if not frames:
        raise BevformerError("nothing was evaluated: give at least one scene with one frame")
    first = evaluations[0]
    for other in evaluations[1:]:
        if _conditions(other) != _conditions(first):
            raise BevformerError(
                f"scenes {first.scene} and {other.scene} were evaluated differently "
                f"({_conditions(first)} and {_conditions(other)}); evaluate all scenes again alike"
            )
    truths = [frame.truth for _, frame in frames if frame.truth is not None]
    return EvaluationSummary(
        scenes=len(evaluations),
        frames=len(frames),
        annotated_frames=len(truths),
        class_names=first.class_names,
        score_threshold=first.score_threshold,
        match_distance_m=first.match_distance_m,
        outputs={
            name: _summarize_output([(place, frame.fidelity[name]) for place, frame in frames])
            for name in frames[0][1].fidelity
        },
        drift=_drift(frames),
        agreement=_total_agreement([frame.agreement for _, frame in frames]),
        truth=_total_truth(truths, first.class_names) if truths else None,
        latency={stage: _latency(frames, stage) for stage in STAGES},
    )


def _places(evaluations: Sequence[SceneEvaluation]) -> Iterator[tuple[FramePlace, FrameEvaluation]]:
    for evaluation in evaluations:
        for position, frame in enumerate(evaluation.frames):
            yield FramePlace(evaluation.scene, frame.index, position), frame


def _conditions(evaluation: SceneEvaluation) -> tuple[float | None, float, tuple[str, ...]]:
    return evaluation.score_threshold, evaluation.match_distance_m, evaluation.class_names


def _summarize_output(frames: Sequence[tuple[FramePlace, Fidelity]]) -> OutputSummary:
    cosines = [(f.cosine, place) for place, f in frames if f.cosine is not None]
    errors = [(f.relative_error, place) for place, f in frames if f.relative_error is not None]
    largest = [f.max_abs_error for _, f in frames if f.max_abs_error is not None]
    broken = [place for place, f in frames if f.not_finite]
    worst_cosine = min(cosines, key=lambda found: found[0], default=(None, None))
    worst_error = max(errors, key=lambda found: found[0], default=(None, None))
    return OutputSummary(
        mean_cosine=_mean([cosine for cosine, _ in cosines]),
        worst_cosine=worst_cosine[0],
        worst_cosine_at=worst_cosine[1],
        mean_relative_error=_mean([error for error, _ in errors]),
        worst_relative_error=worst_error[0],
        worst_relative_error_at=worst_error[1],
        max_abs_error=max(largest, default=None),
        frames_not_finite=len(broken),
        not_finite_at=broken[0] if broken else None,
    )


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _drift(frames: Sequence[tuple[FramePlace, FrameEvaluation]]) -> tuple[DriftPoint, ...]:
    by_position: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for place, frame in frames:
        fidelity = frame.fidelity[OUTPUT_BEV_EMBED]
        if fidelity.cosine is not None and fidelity.relative_error is not None:
            by_position[place.position].append((fidelity.cosine, fidelity.relative_error))
    return tuple(_drift_point(position, by_position[position]) for position in sorted(by_position))


def _drift_point(position: int, values: Sequence[tuple[float, float]]) -> DriftPoint:
    cosines, errors = zip(*values, strict=True)
    return DriftPoint(
        position=position,
        frames=len(values),
        mean_cosine=math.fsum(cosines) / len(values),
        worst_cosine=min(cosines),
        mean_relative_error=math.fsum(errors) / len(values),
        worst_relative_error=max(errors),
    )


def _total_agreement(agreements: Sequence[Agreement]) -> Agreement:
    return Agreement(
        reference_boxes=sum(one.reference_boxes for one in agreements),
        candidate_boxes=sum(one.candidate_boxes for one in agreements),
        matched=sum(one.matched for one in agreements),
        center_distance_sum_m=math.fsum(one.center_distance_sum_m for one in agreements),
        score_difference_sum=math.fsum(one.score_difference_sum for one in agreements),
    )


def _total_truth(truths: Sequence[TruthComparison], class_names: Sequence[str]) -> TruthComparison:
    return TruthComparison(
        reference=_total_by_class([truth.reference for truth in truths], class_names),
        candidate=_total_by_class([truth.candidate for truth in truths], class_names),
    )


def _total_by_class(frames: Sequence[Mapping[str, ClassCounts]], class_names: Sequence[str]) -> dict[str, ClassCounts]:
    return {
        name: total_counts([counts[name] for counts in frames if name in counts])
        for name in class_names
        if any(name in counts for counts in frames)
    }


def total_counts(counts: Sequence[ClassCounts]) -> ClassCounts:
    """Add counts up: over frames, or over classes."""
    return ClassCounts(
        annotated=sum(one.annotated for one in counts),
        detected=sum(one.detected for one in counts),
        matched=sum(one.matched for one in counts),
    )


def _latency(frames: Sequence[tuple[FramePlace, FrameEvaluation]], stage: str) -> Latency | None:
    taken = [getattr(frame.seconds, stage) for place, frame in frames if place.position > 0]
    seconds = [float(one) for one in taken if one is not None]
    if not seconds:
        return None
    median, p95 = np.percentile(seconds, [50, 95])
    return Latency(median_s=float(median), p95_s=float(p95), frames=len(seconds))
