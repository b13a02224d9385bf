"""What a build found, in sentences for people who don't read tables; the first is the report's headline."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from bevformer_lib.evaluate.summary import EvaluationSummary, total_counts
from bevformer_lib.gates.judge import Verdict
from bevformer_lib.metrics.metric_types import ANNOTATIONS, DetectionMetrics
from bevformer_lib.report import numbers
from bevformer_lib.report.content import ReportContent

CLOSENESS: Final = (
    (0.01, "stays very close to"),
    (0.05, "stays close to"),
    (0.20, "differs clearly from"),
    (math.inf, "is far from"),
)
"""Below which mean relative error of the worst output the report says what; a habit of speech, no standard."""

DRIFT_FACTOR: Final = 1.5
"""By how much the error of ``bev_embed`` must have grown over a scene to be called growing."""


_BACKENDS: Final = {
    "emulator": "the emulated NPU",
    "onnxruntime": "ONNX Runtime INT8 (not the NPU's arithmetic)",
    "pulsar2": "Pulsar2's simulator of the NPU",
    "axengine": "the NPU",
}
"""How a report names the converter's or the runtime's arithmetic."""


def headline(content: ReportContent) -> str:
    """Return the first line: mAP and NDS of both models, and whose arithmetic the candidate's are."""
    where = f"on {backend(content)}"
    both = content.find(DetectionMetrics)
    if not both:
        return f"mAP and NDS not measured, {where}"
    reference, candidate = both
    proxy = "" if candidate.truth == ANNOTATIONS else "Against the float model's own boxes, "
    pairs = (("mAP", reference.mean_ap, candidate.mean_ap), ("NDS", reference.nds, candidate.nds))
    said = (f"{name} {numbers.decimals(after)} (float {numbers.decimals(before)})" for name, before, after in pairs)
    return f"{proxy}{', '.join(said)}, {where}"


def backend(content: ReportContent) -> str:
    """Return what computed the candidate's outputs: the emulator that converted it, else the runtime that ran it."""
    converter, runtime = content.parameter("converter"), content.parameter("runtime")
    return _BACKENDS["emulator"] if "emulator" in (converter, runtime) else _BACKENDS.get(runtime, str(runtime))


def verdict(content: ReportContent) -> tuple[str, ...]:
    """Return what an evaluation found in sentences, the most important first."""
    summary, (reference_name, candidate_name) = content.summary, content.names
    return (
        *(said for verdict in content.find(Verdict) for said in _gates(verdict, candidate_name)),
        *_not_finite(summary, candidate_name),
        *_closeness(summary, reference_name, candidate_name),
        *_drift(summary),
        *_agreement(summary, reference_name, candidate_name),
        *_truth(summary, reference_name, candidate_name),
    )


def _gates(gates: Verdict, candidate_name: str) -> Iterator[str]:
    if not gates.results:
        return
    if not gates.failed:
        silent = sum(result.passed is None for result in gates.results)
        rest = f" that apply; {numbers.count(silent)} more had nothing to be computed from" if silent else ""
        yield f"The {candidate_name} passes all {numbers.count(len(gates.results) - silent, 'gate')}{rest}."
        return
    first = gates.failed[0]
    where = f", worst in scene {first.worst_scene}" if first.worst_scene else ""
    others = len(gates.failed) - 1
    rest = f" {numbers.count(others, 'more gate')} failed too." if others else ""
    value = numbers.general(first.value)
    yield f"Not good enough to publish: {first.name} is {value}, asked is {first.rule}{where}.{rest}"


def _not_finite(summary: EvaluationSummary, candidate_name: str) -> Iterator[str]:
    broken = [output for output in summary.outputs.values() if output.frames_not_finite]
    if broken:
        worst = max(broken, key=lambda output: output.frames_not_finite)
        place = worst.not_finite_at
        where = f", first in scene {place.scene}, frame {place.index}" if place else ""
        yield (
            f"The {candidate_name} can't be trusted: in {numbers.count(worst.frames_not_finite)} of "
            f"{numbers.count(summary.frames, 'frame')} it or its reference gives values that are not numbers{where}."
        )


def _closeness(summary: EvaluationSummary, reference_name: str, candidate_name: str) -> Iterator[str]:
    errors = {
        name: output.mean_relative_error
        for name, output in summary.outputs.items()
        if output.mean_relative_error is not None
    }
    if not errors:
        return
    name, worst = max(errors.items(), key=lambda found: found[1])
    words = next(words for bound, words in CLOSENESS if worst < bound or bound == math.inf)
    over = f"{numbers.count(summary.frames, 'frame')} of {numbers.count(summary.scenes, 'scene')}"
    if worst == 0:
        yield f"The {candidate_name} equals the {reference_name} over {over}: no output differs at all."
        return
    yield (
        f"The {candidate_name} {words} the {reference_name}: over {over}, its worst output ({name}) is off by "
        f"{numbers.error(worst)} on average."
    )


def _drift(summary: EvaluationSummary) -> Iterator[str]:
    if len(summary.drift) < 2:
        return
    first, last = summary.drift[0], summary.drift[-1]
    if last.mean_relative_error > DRIFT_FACTOR * first.mean_relative_error:
        yield (
            f"The error in bev_embed, which the next frame is given, grows along a scene, from "
            f"{numbers.error(first.mean_relative_error)} to {numbers.error(last.mean_relative_error)} after "
            f"{numbers.count(last.position, 'frame')}."
        )
    elif first.mean_relative_error > 0:
        yield (
            f"The error in bev_embed, which the next frame is given, does not build up over the "
            f"{numbers.count(last.position + 1, 'frame')} of the longest scene."
        )


def _agreement(summary: EvaluationSummary, reference_name: str, candidate_name: str) -> Iterator[str]:
    agreement = summary.agreement
    if agreement.reference_matched_share is None or agreement.candidate_matched_share is None:
        found = max(agreement.reference_boxes, agreement.candidate_boxes)
        who = "Neither model gives" if found == 0 else "Only one of the models gives"
        yield f"{who} boxes above the score threshold, so their detections can't be compared."
        return
    yield (
        f"It finds {numbers.percent(agreement.reference_matched_share)} of the {reference_name}'s boxes, and "
        f"{numbers.percent(agreement.candidate_matched_share)} of its own boxes are the {reference_name}'s too."
    )


def _truth(summary: EvaluationSummary, reference_name: str, candidate_name: str) -> Iterator[str]:
    if summary.truth is None:
        return
    reference = total_counts(list(summary.truth.reference.values()))
    candidate = total_counts(list(summary.truth.candidate.values()))
    if reference.f1 is None or candidate.f1 is None:
        return
    yield (
        f"Against {numbers.count(candidate.annotated, 'annotated object')}, F1 is "
        f"{numbers.decimals(reference.f1)} for the {reference_name} and {numbers.decimals(candidate.f1)} for the "
        f"{candidate_name}."
    )
