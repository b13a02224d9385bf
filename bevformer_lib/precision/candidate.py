"""Comparison of a candidate with the float model over whole scenes, stopped at the first missed threshold."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bevformer_lib.config.inference_config import InferenceConfig
from bevformer_lib.detections.decode import decode_detections
from bevformer_lib.detections.matching import agreement_of
from bevformer_lib.errors import ConfigError
from bevformer_lib.fidelity import tensor_fidelity
from bevformer_lib.names import OUTPUT_NAMES
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.temporal import TemporalSession
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.stream import stream_inputs
from bevformer_lib.scenes.types import Scene


class BudgetExhaustedError(Exception):
    """The time budget is used up; the candidate being evaluated is dropped."""


@dataclass(frozen=True)
class Thresholds:
    """Smallest cosine and share of matched boxes over whole scenes, the candidate's own ``bev_embed`` fed back.

    Attributes:
        min_cosine: smallest cosine of every output in every frame, in (0, 1].
        min_matched: smallest share of the float model's boxes that it finds, over all frames, in [0, 1]; ``None``: not
            asked.
    """

    min_cosine: float
    min_matched: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.min_cosine <= 1.0:
            raise ConfigError(
                f"the thresholds ask for a cosine of {self.min_cosine}; give a number above 0 and up to 1"
            )
        if self.min_matched is not None and not 0.0 <= self.min_matched <= 1.0:
            raise ConfigError(f"the thresholds ask for a share of {self.min_matched}; give a number from 0 to 1")


@dataclass(frozen=True)
class CandidateResult:
    """Comparison of one candidate with the float model.

    Attributes:
        passed: whether all frames reach the thresholds.
        frames: frames seen; fewer than the scenes have where a threshold was missed early.
        worst_cosine: smallest over outputs and frames seen; ``None`` where a value was not finite.
        matched_share: share of the float model's boxes found in the frames seen; ``None`` without boxes.
        mean_error: over frames seen, of the largest relative error of an output; ``None`` where a value was not finite.
        seconds: how long it took, without building the candidate.
    """

    passed: bool
    frames: int
    worst_cosine: float | None
    matched_share: float | None
    mean_error: float | None
    seconds: float


@dataclass(frozen=True)
class EvaluationSetup:
    """Scenes, reference and decoding that every candidate is evaluated with.

    Attributes:
        scenes: whole scenes.
        reference: the float model (or its recording).
        config: how boxes are decoded.
        preprocessor: turns frames into inputs.
        score_threshold: boxes at or below are dropped; ``None``: no threshold.
        reference_boxes: boxes of the float model over all frames.
        check_time: raises :class:`BudgetExhaustedError` when the time is up; called at every frame.
    """

    scenes: Sequence[Scene]
    reference: Runtime
    config: InferenceConfig
    preprocessor: Preprocessor
    score_threshold: float | None
    reference_boxes: int
    check_time: Callable[[], None]

    @property
    def frames(self) -> int:
        """Frames of all scenes."""
        return sum(len(scene.frames) for scene in self.scenes)


def evaluate_candidate(
    setup: EvaluationSetup,
    candidate: Runtime,
    thresholds: Thresholds,
    *,
    max_frames: int | None = None,
    stop_early: bool = True,
) -> CandidateResult:
    """Compare a candidate with the float model, each with its own prev_bev states.

    Args:
        setup: scenes, reference and decoding.
        candidate: the model to judge.
        thresholds: those to reach.
        max_frames: frames to look at, from the first scene's first; ``None``: all.
        stop_early: whether to stop at the first frame after which the thresholds can't be reached any more.

    Raises:
        BudgetExhaustedError: the time is up.
    """
    started = time.perf_counter()
    reference, given = (
        TemporalSession(model, stated_geometry=setup.config.host_geometry) for model in (setup.reference, candidate)
    )
    cosines: list[float] = []
    errors: list[float] = []
    reference_boxes = matched = 0
    limit = setup.frames if max_frames is None else min(max_frames, setup.frames)

    def can_hold() -> bool:
        if cosines and min(cosines) < thresholds.min_cosine:
            return False
        missed = reference_boxes - matched
        return (
            thresholds.min_matched is None
            or setup.reference_boxes - missed >= thresholds.min_matched * setup.reference_boxes
        )

    for scene in setup.scenes:
        if len(cosines) >= limit or (stop_early and not can_hold()):
            break
        for position, decoded in enumerate(stream_inputs(scene.frames[: limit - len(cosines)], setup.preprocessor)):
            setup.check_time()
            expected, found = (session.step(decoded.inputs, first=position == 0) for session in (reference, given))
            outputs = [tensor_fidelity(expected.outputs[name], found.outputs[name]) for name in OUTPUT_NAMES]
            cosines.append(min(-math.inf if one.cosine is None else one.cosine for one in outputs))
            errors.append(max(math.inf if one.relative_error is None else one.relative_error for one in outputs))
            boxes = [
                decode_detections(step.outputs, setup.config.box_coder, score_threshold=setup.score_threshold)
                for step in (expected, found)
            ]
            agreement = agreement_of(*boxes)
            reference_boxes += agreement.reference_boxes
            matched += agreement.matched
            if stop_early and not can_hold():
                break
    worst, mean = min(cosines), math.fsum(errors) / len(errors)
    return CandidateResult(
        passed=can_hold() and len(cosines) == setup.frames,
        frames=len(cosines),
        worst_cosine=worst if math.isfinite(worst) else None,
        matched_share=matched / reference_boxes if reference_boxes else None,
        mean_error=mean if math.isfinite(mean) else None,
        seconds=time.perf_counter() - started,
    )
