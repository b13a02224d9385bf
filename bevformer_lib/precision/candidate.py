"""Comparison of a candidate with the float model over whole scenes, stopped at the first missed threshold."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bevformer_lib.config.inference_config import InferenceConfig
from bevformer_lib.detections.decode import decode_detections
from bevformer_lib.detections.matching import agreement_of
from bevformer_lib.detections.types import Detections
from bevformer_lib.errors import ConfigError
from bevformer_lib.fidelity import tensor_fidelity
from bevformer_lib.metrics.detection_metrics import score_scenes
from bevformer_lib.names import OUTPUT_NAMES
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.host import HostPreparation, fed_to
from bevformer_lib.runtime.temporal import TemporalSession
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.stream import stream_inputs
from bevformer_lib.scenes.types import Scene


class BudgetExhaustedError(Exception):
    """The time budget is used up; the candidate being evaluated is dropped."""


@dataclass(frozen=True)
class Thresholds:
    """What a candidate must reach over whole scenes, its own ``bev_embed`` fed back; ``None``: not asked.

    Attributes:
        min_cosine: smallest cosine of every output in every frame, in (0, 1].
        min_matched: smallest share of the float model's boxes that it finds, over all frames, in [0, 1].
        most_map_lost: by how much its mAP may be below the float model's, in [0, 1].
        most_nds_lost: the same of NDS.
    """

    min_cosine: float | None = None
    min_matched: float | None = None
    most_map_lost: float | None = None
    most_nds_lost: float | None = None

    @property
    def asks_metrics(self) -> bool:
        """Whether they can only be judged against annotations."""
        return self.most_map_lost is not None or self.most_nds_lost is not None

    def __post_init__(self) -> None:
        if self.min_cosine is not None and not 0.0 < self.min_cosine <= 1.0:
            raise ConfigError(
                f"the thresholds ask for a cosine of {self.min_cosine}; give a number above 0 and up to 1"
            )
        if self.min_matched is not None and not 0.0 <= self.min_matched <= 1.0:
            raise ConfigError(f"the thresholds ask for a share of {self.min_matched}; give a number from 0 to 1")
        for name, lost in (("mAP", self.most_map_lost), ("NDS", self.most_nds_lost)):
            if lost is not None and not 0.0 <= lost <= 1.0:
                raise ConfigError(f"the thresholds allow {name} to lose {lost}; give a number from 0 to 1")


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
        mean_ap: over all scenes, against their annotations; ``None`` where not asked for or stopped before the end.
        nds: likewise.
    """

    passed: bool
    frames: int
    worst_cosine: float | None
    matched_share: float | None
    mean_error: float | None
    seconds: float
    mean_ap: float | None = None
    nds: float | None = None


@dataclass(frozen=True)
class EvaluationSetup:
    """Scenes, reference and decoding that every candidate is evaluated with.

    Attributes:
        scenes: whole scenes.
        reference: the float model (or its recording).
        score_threshold: boxes at or below are dropped; ``None``: no threshold.
        reference_boxes: boxes of the float model over all frames.
        check_time: raises :class:`BudgetExhaustedError` when the time is up; called at every frame.
        reference_metrics: mAP and NDS of the float model; ``None`` where no threshold asks for them.
    """

    scenes: Sequence[Scene]
    reference: Runtime
    config: InferenceConfig
    preprocessor: Preprocessor
    score_threshold: float | None
    reference_boxes: int
    check_time: Callable[[], None]
    reference_metrics: tuple[float, float] | None = None

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
        TemporalSession(model, HostPreparation(setup.config.img_norm), stated_geometry=setup.config.host_geometry)
        for model in (setup.reference, candidate)
    )
    preprocessor = fed_to(setup.preprocessor, setup.reference, candidate)
    cosines: list[float] = []
    errors: list[float] = []
    reference_boxes = matched = 0
    limit = setup.frames if max_frames is None else min(max_frames, setup.frames)

    detections: dict[str, list[Detections]] = {scene.name: [] for scene in setup.scenes}

    def can_hold() -> bool:
        if thresholds.min_cosine is not None and cosines and min(cosines) < thresholds.min_cosine:
            return False
        missed = reference_boxes - matched
        return (
            thresholds.min_matched is None
            or setup.reference_boxes - missed >= thresholds.min_matched * setup.reference_boxes
        )

    for scene in setup.scenes:
        if len(cosines) >= limit or (stop_early and not can_hold()):
            break
        for position, decoded in enumerate(stream_inputs(scene.frames[: limit - len(cosines)], preprocessor)):
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
            if setup.reference_metrics is not None:
                detections[scene.name].append(decode_detections(found.outputs, setup.config.box_coder))
            if stop_early and not can_hold():
                break
    worst, mean = min(cosines), math.fsum(errors) / len(errors)
    passed, metrics = can_hold() and len(cosines) == setup.frames, None
    if len(cosines) == setup.frames and setup.reference_metrics is not None:
        metrics = map_and_nds(setup.scenes, detections, setup.config)
        allowed = (thresholds.most_map_lost, thresholds.most_nds_lost)
        pairs = zip(setup.reference_metrics, metrics, allowed, strict=True)
        passed = passed and all(most is None or before - after <= most for before, after, most in pairs)
    return CandidateResult(
        passed=passed,
        frames=len(cosines),
        worst_cosine=worst if math.isfinite(worst) else None,
        matched_share=matched / reference_boxes if reference_boxes else None,
        mean_error=mean if math.isfinite(mean) else None,
        seconds=time.perf_counter() - started,
        mean_ap=None if metrics is None else metrics[0],
        nds=None if metrics is None else metrics[1],
    )


def map_and_nds(
    scenes: Sequence[Scene], detections: Mapping[str, Sequence[Detections]], config: InferenceConfig
) -> tuple[float, float]:
    """Return mAP and NDS of detections by scene name.

    Raises:
        ConfigError: classes are none of nuScenes'.
        BevformerError: no frame has annotations.
    """
    scored = score_scenes(scenes, detections, config.class_names)
    return scored.mean_ap, scored.nds
