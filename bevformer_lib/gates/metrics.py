"""What gates can ask for: the metrics of a build by name, each with its scenes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bevformer_lib.calibration.coverage import CalibrationCoverage
from bevformer_lib.detections.types import ClassCounts, SceneEvaluation
from bevformer_lib.evaluate.diagnosis import DIAGNOSES, Diagnosis
from bevformer_lib.evaluate.summary import EvaluationSummary, summarize, total_counts
from bevformer_lib.metrics.metric_types import ANNOTATIONS, DetectionMetrics
from bevformer_lib.names import OUTPUT_BEV_EMBED, OUTPUT_NAMES

NO_ANNOTATIONS: Final = "the scenes carry no annotations"
_FIDELITY: Final = {
    "cosine": "mean_cosine",
    "worst_cosine": "worst_cosine",
    "relative_error": "mean_relative_error",
    "worst_relative_error": "worst_relative_error",
    "max_abs_error": "max_abs_error",
    "frames_not_finite": "frames_not_finite",
}
_AGREEMENT: Final = {
    "reference_matched": "reference_matched_share",
    "candidate_matched": "candidate_matched_share",
    "center_distance_m": "mean_center_distance_m",
    "score_difference": "mean_score_difference",
}
_ERRORS: Final = {
    "mATE": "translation",
    "mASE": "scale",
    "mAOE": "orientation",
    "mAVE": "velocity",
    "mAAE": "attribute",
}
_LATENCY: Final = {"median_ms": "median_s", "p95_ms": "p95_s"}
_COVERAGE: Final = {"ego_speed": "Ego speed", "yaw_rate": "Yaw rate", "brightness": "Brightness"}
_COUNTS: Final = ("recall", "precision")
_MILLISECONDS: Final = 1e3


@dataclass(frozen=True)
class Metric:
    """One number.

    Attributes:
        value: over all scenes; ``None``: there was nothing to compute it from.
        scenes: of each scene that has one.
        reference: of the float model, where that has such a number too.
        reference_scenes: alike.
        note: why there is no value, or what is behind it.
    """

    value: float | None
    scenes: Mapping[str, float] = field(default_factory=dict)
    reference: float | None = None
    reference_scenes: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


PROJECTION_STEP: Final = "rounding.projection_step"
NOT_EMULATED: Final = Metric(None, note="nothing was emulated")


@dataclass(frozen=True)
class BuildMetrics:
    """The metrics of a build.

    Attributes:
        scenes: name -> digest of the scenes that were evaluated.
    """

    model: str
    scenes: Mapping[str, str]
    metrics: Mapping[str, Metric]


def metric_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of all metrics that builds of a model have."""
    return (
        PROJECTION_STEP,
        *(f"diagnosis.{name}" for name in DIAGNOSES),
        *(f"fidelity.{output}.{name}" for output in OUTPUT_NAMES for name in _FIDELITY),
        "drift.bev_embed",
        *(f"agreement.{name}" for name in _AGREEMENT),
        *(f"{kind}.{name}" for kind in ("metrics", "proxy") for name in ("NDS", "mAP", *_ERRORS)),
        *(f"metrics.ap.{name}" for name in class_names),
        *(f"metrics.{kind}" for kind in _COUNTS),
        *(f"metrics.{kind}.{name}" for kind in _COUNTS for name in class_names),
        *(f"latency.{name}" for name in _LATENCY),
        *(f"coverage.{name}" for name in (*_COVERAGE, "scenes")),
    )


def gather(
    evaluations: Sequence[SceneEvaluation],
    metrics: tuple[DetectionMetrics, DetectionMetrics] | str,
    coverage: CalibrationCoverage,
    diagnosis: Diagnosis,
    projection_step: Metric = NOT_EMULATED,
) -> dict[str, Metric]:
    """Return all metrics of a build by name.

    Args:
        evaluations: of all scenes.
        metrics: of the reference and the candidate, or why there are none.
        coverage: of the calibration set.
        diagnosis: of the candidate.
        projection_step: largest step of an emulated tensor between ``lidar2img`` and the image coordinates, in pixels
            times metres of depth.
    """
    summary = summarize(evaluations)
    by_scene = {evaluation.scene: summarize([evaluation]) for evaluation in evaluations}
    found = {
        PROJECTION_STEP: projection_step,
        **{f"diagnosis.{name}": Metric(one.value, note=one.note) for name, one in diagnosis.findings.items()},
        **dict(_of_summary(summary, by_scene)),
        **dict(_of_counts(summary, by_scene)),
        **dict(_of_metrics(metrics, summary.class_names)),
        **dict(_of_coverage(coverage)),
    }
    return {name: found[name] for name in metric_names(summary.class_names)}


def _of_summary(summary: EvaluationSummary, by_scene: Mapping[str, EvaluationSummary]) -> Iterator[tuple[str, Metric]]:
    def metric(get: Callable[[EvaluationSummary], float | None], reason: str) -> Metric:
        value = get(summary)
        scenes = {name: found for name, one in by_scene.items() if (found := get(one)) is not None}
        return Metric(value, scenes, note=reason if value is None else "")

    for output in OUTPUT_NAMES:
        for name, attribute in _FIDELITY.items():
            yield (
                f"fidelity.{output}.{name}",
                metric(lambda one, o=output, a=attribute: getattr(one.outputs[o], a), "no frame has finite values"),  # type: ignore[misc]
            )
    yield f"drift.{OUTPUT_BEV_EMBED}", metric(_growth, "no scene has a second frame with an error to compare")
    for name, attribute in _AGREEMENT.items():
        yield (
            f"agreement.{name}",
            metric(lambda one, a=attribute: getattr(one.agreement, a), "there are no boxes to compare"),  # type: ignore[misc]
        )
    for name, attribute in _LATENCY.items():
        timed = metric(lambda one, a=attribute: _milliseconds(one, "candidate", a), "no scene has a second frame")  # type: ignore[misc]
        yield f"latency.{name}", dataclasses.replace(timed, reference=_milliseconds(summary, "reference", attribute))


def _growth(summary: EvaluationSummary) -> float | None:
    """Return how many times larger the error of ``bev_embed`` is at the end of the longest scene than at its start."""
    if len(summary.drift) < 2 or not summary.drift[0].mean_relative_error:
        return None
    return summary.drift[-1].mean_relative_error / summary.drift[0].mean_relative_error


def _milliseconds(summary: EvaluationSummary, stage: str, attribute: str) -> float | None:
    latency = summary.latency[stage]
    return None if latency is None else _MILLISECONDS * float(getattr(latency, attribute))


def _of_counts(summary: EvaluationSummary, by_scene: Mapping[str, EvaluationSummary]) -> Iterator[tuple[str, Metric]]:
    """Yield recall and precision at 2 m, of all classes together and of each."""

    def side(one: EvaluationSummary, model: str, kind: str, class_name: str | None) -> float | None:
        counts: Mapping[str, ClassCounts] = {} if one.truth is None else getattr(one.truth, model)
        chosen = [found for name, found in counts.items() if class_name in (None, name)]
        ratio: float | None = getattr(total_counts(chosen), kind)
        return ratio

    reason = NO_ANNOTATIONS if summary.truth is None else "the class occurs neither annotated nor detected"
    for kind in _COUNTS:
        for class_name in (None, *summary.class_names):
            values = [
                {name: v for name, one in by_scene.items() if (v := side(one, model, kind, class_name)) is not None}
                for model in ("candidate", "reference")
            ]
            value = side(summary, "candidate", kind, class_name)
            yield (
                f"metrics.{kind}" + (f".{class_name}" if class_name else ""),
                Metric(
                    value,
                    values[0],
                    side(summary, "reference", kind, class_name),
                    values[1],
                    note=reason if value is None else "",
                ),
            )


def _of_metrics(
    metrics: tuple[DetectionMetrics, DetectionMetrics] | str, class_names: Sequence[str]
) -> Iterator[tuple[str, Metric]]:
    truth = None if isinstance(metrics, str) else metrics[1].truth
    for kind in ("metrics", "proxy"):
        if isinstance(metrics, str) or (kind == "metrics") != (truth == ANNOTATIONS):
            reason = metrics if isinstance(metrics, str) else _other(kind)
            yield from ((f"{kind}.{name}", Metric(None, note=reason)) for name in ("NDS", "mAP", *_ERRORS))
            if kind == "metrics":
                yield from ((f"metrics.ap.{name}", Metric(None, note=reason)) for name in class_names)
            continue
        reference, candidate = metrics
        scenes = [{n: s.mean_ap for n, s in one.scenes.items() if s.mean_ap is not None} for one in metrics]
        yield f"{kind}.mAP", Metric(candidate.mean_ap, scenes[1], reference.mean_ap, scenes[0])
        nds = [{n: s.nds for n, s in one.scenes.items() if s.nds is not None} for one in metrics]
        yield f"{kind}.NDS", Metric(candidate.nds, nds[1], reference.nds, nds[0])
        for name, attribute in _ERRORS.items():
            errors = [getattr(one.errors, attribute) for one in (candidate, reference)]
            yield f"{kind}.{name}", Metric(errors[0], reference=errors[1])
        if kind == "metrics":
            yield from ((f"metrics.ap.{name}", _ap(reference, candidate, name)) for name in class_names)


def _other(kind: str) -> str:
    if kind == "metrics":
        return f"{NO_ANNOTATIONS}; proxy.* compares with the float model's boxes"
    return "the scenes carry annotations, which metrics.* uses"


def _ap(reference: DetectionMetrics, candidate: DetectionMetrics, name: str) -> Metric:
    if name in candidate.classes_without_truth:
        return Metric(None, note="no annotated box of this class counts")
    scenes = [{n: s.ap[name] for n, s in one.scenes.items() if name in s.ap} for one in (candidate, reference)]
    return Metric(candidate.classes[name].ap, scenes[0], reference.classes[name].ap, scenes[1])


def _of_coverage(coverage: CalibrationCoverage) -> Iterator[tuple[str, Metric]]:
    shares = {one.name: one.share_within for one in coverage.quantities}
    for name, title in _COVERAGE.items():
        share = shares.get(title)
        yield f"coverage.{name}", Metric(share, note="" if share is not None else "the scenes do not say it")
    yield "coverage.scenes", Metric(coverage.scenes_sampled / coverage.scenes_total)
