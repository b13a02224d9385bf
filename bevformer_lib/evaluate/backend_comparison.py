"""Comparison of one model's backends, from PyTorch to the board, tensor by tensor on the same frames.

Every backend is fed its own prev_bev states and is compared with the first backend and with the one before it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.inference_config import InferenceConfig
from bevformer_lib.detections.decode import decode_detections
from bevformer_lib.detections.matching import agreement_of
from bevformer_lib.detections.types import Agreement, Detections
from bevformer_lib.errors import ConfigError
from bevformer_lib.evaluate.summary import FramePlace, Latency
from bevformer_lib.export.intermediates_runtime import IntermediatesRuntime, computing_order
from bevformer_lib.fidelity import Fidelity, tensor_fidelity
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.host import HostPreparation, fed_to
from bevformer_lib.runtime.temporal import TemporalSession
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.stream import stream_inputs
from bevformer_lib.scenes.types import Scene

WARM_UP_FRAMES = 1
"""Frames of every scene whose times don't count."""


@dataclass(frozen=True)
class Backend:
    """A form of the model.

    Attributes:
        name: shown, such as "ONNX".
        preparation: what the host does to its tensors before; ``None``: nothing but a change of float types.
    """

    name: str
    source: str
    runtime: Runtime
    preparation: HostPreparation | None = None


@dataclass(frozen=True)
class TensorFigures:
    """How far a tensor is from another backend's, over all frames.

    Attributes:
        mean_cosine: over frames whose values are finite; ``None`` without any.
        worst_cosine: smallest; ``None`` where a frame has a value that is not finite.
        worst_relative_error: largest norm of the difference over norm; likewise.
        worst_at: the frame of the smallest cosine, or the first that is not finite.
    """

    mean_cosine: float | None
    worst_cosine: float | None
    worst_relative_error: float | None
    worst_at: FramePlace


@dataclass(frozen=True)
class BelowThreshold:
    """Where a backend first fell below the threshold, compared with the first backend.

    Attributes:
        tensor: the first tensor, in the order in which the model computes them.
        cosine: there; ``None`` where a value is not finite.
        unseen_before: whether the backend does not give the tensors computed before this one, so that the loss may have
            begun earlier inside.
    """

    backend: str
    tensor: str
    place: FramePlace
    cosine: float | None
    unseen_before: bool


@dataclass(frozen=True)
class BackendResult:
    """Result of one backend.

    Attributes:
        from_first: tensors compared with the first backend, in computing order; empty for the first backend itself.
        from_previous: compared with the backend before.
        agreement: its boxes and the first backend's.
        below: where it fell below the threshold; ``None``: nowhere.
        latency: inference, without every scene's first frame; ``None`` where no scene has a second run.
    """

    name: str
    source: str
    from_first: Mapping[str, TensorFigures]
    from_previous: Mapping[str, TensorFigures]
    agreement: Agreement
    below: BelowThreshold | None
    latency: Latency | None


@dataclass(frozen=True)
class BackendComparison:
    """All backends."""

    min_cosine: float
    frames: int
    backends: tuple[BackendResult, ...]

    @property
    def first_below(self) -> BelowThreshold | None:
        """Where the first backend that fell below the threshold did so; ``None``: all hold it."""
        return next((backend.below for backend in self.backends if backend.below is not None), None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain nested data for JSON."""
        first = self.first_below
        return {**dataclasses.asdict(self), "first_below": None if first is None else dataclasses.asdict(first)}


@dataclass
class _BackendRun:
    """A backend, and what was collected of it so far."""

    backend: Backend
    runtime: IntermediatesRuntime
    session: TemporalSession
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)
    boxes: Detections | None = None
    from_first: list[tuple[FramePlace, dict[str, Fidelity]]] = field(default_factory=list)
    from_previous: list[tuple[FramePlace, dict[str, Fidelity]]] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)
    warm_seconds: list[float] = field(default_factory=list)


def compare_backends(
    scenes: Sequence[Scene],
    backends: Sequence[Backend],
    config: InferenceConfig,
    preprocessor: Preprocessor,
    *,
    min_cosine: float,
    score_threshold: float | None = None,
    on_progress: ProgressCallback = no_progress,
) -> BackendComparison:
    """Run all backends over scenes, frame by frame.

    Args:
        scenes: whole scenes.
        backends: two or more, from the truest to the farthest.
        config: how boxes are decoded, and the camera capacity of the compiled backends.
        preprocessor: turns frames into inputs.
        min_cosine: a tensor whose cosine with the first backend's is smaller in any frame is below the threshold.
        score_threshold: replaces the config's; ``None`` keeps that one.
        on_progress: told the frames done.

    Raises:
        ConfigError: fewer than two backends, two of one name, a threshold out of range, or tensors of different shapes.
        RuntimeUnavailableError: a backend is no BEVFormer graph, or the frames don't fit it.
        CameraCalibrationError: a frame's cameras see a BEV cell with more cameras than a backend's graph takes.
    """
    if len(backends) < 2 or len({backend.name for backend in backends}) < len(backends):
        raise ConfigError("a backend comparison takes two backends or more, each with a name of its own")
    if not 0.0 < min_cosine <= 1.0:
        raise ConfigError(f"the threshold is a cosine of {min_cosine}; give a number above 0 and up to 1")
    if score_threshold is None:
        score_threshold = config.box_coder.score_threshold
    runs = [_start(backend, config) for backend in backends]
    preprocessor = fed_to(preprocessor, *(run.runtime for run in runs))
    total = sum(len(scene.frames) for scene in scenes)
    done = 0
    for scene in scenes:
        for position, decoded in enumerate(stream_inputs(scene.frames, preprocessor)):
            place = FramePlace(scene.name, decoded.frame.index, position)
            for previous, run in zip([None, *runs], runs, strict=False):
                step = run.session.step(decoded.inputs, first=position == 0)
                run.tensors = dict(
                    sorted(
                        {**run.runtime.with_intermediates, **step.outputs}.items(),
                        key=lambda item: computing_order(item[0]),
                    )
                )
                run.boxes = decode_detections(step.outputs, config.box_coder, score_threshold=score_threshold)
                if position >= WARM_UP_FRAMES:
                    run.warm_seconds.append(step.seconds)
                _compare(place, runs[0], previous, run)
            done += 1
            on_progress("frames", done, total)
    return BackendComparison(min_cosine, total, tuple(_result(run, min_cosine) for run in runs))


def _start(backend: Backend, config: InferenceConfig) -> _BackendRun:
    runtime = (
        backend.runtime if isinstance(backend.runtime, IntermediatesRuntime) else IntermediatesRuntime(backend.runtime)
    )
    preparation = backend.preparation or HostPreparation(config.img_norm)
    session = TemporalSession(
        runtime, preparation, stated_capacity=config.camera_capacity, stated_geometry=config.host_geometry
    )
    return _BackendRun(backend, runtime, session)


def _compare(place: FramePlace, first: _BackendRun, previous: _BackendRun | None, run: _BackendRun) -> None:
    assert first.boxes is not None and run.boxes is not None  # noqa: S101 - set for this frame by the caller
    run.agreements.append(agreement_of(first.boxes, run.boxes))
    if previous is None:
        return
    run.from_first.append((place, _fidelities(first, run)))
    run.from_previous.append((place, _fidelities(previous, run)))


def _fidelities(reference: _BackendRun, run: _BackendRun) -> dict[str, Fidelity]:
    found = {}
    for name, tensor in run.tensors.items():
        if name not in reference.tensors:
            continue
        expected = reference.tensors[name]
        if expected.shape != tensor.shape:
            raise ConfigError(
                f"{name} is {expected.shape} in {reference.backend.source} and {tensor.shape} in {run.backend.source}: "
                "the backends are not forms of one model"
            )
        found[name] = tensor_fidelity(expected, tensor)
    return found


def _result(run: _BackendRun, min_cosine: float) -> BackendResult:
    latency = None
    if run.warm_seconds:
        median, p95 = np.percentile(run.warm_seconds, [50, 95])
        latency = Latency(float(median), float(p95), len(run.warm_seconds))
    return BackendResult(
        name=run.backend.name,
        source=run.backend.source,
        from_first=_figures(run.from_first),
        from_previous=_figures(run.from_previous),
        agreement=Agreement(
            reference_boxes=sum(found.reference_boxes for found in run.agreements),
            candidate_boxes=sum(found.candidate_boxes for found in run.agreements),
            matched=sum(found.matched for found in run.agreements),
            center_distance_sum_m=math.fsum(found.center_distance_sum_m for found in run.agreements),
            score_difference_sum=math.fsum(found.score_difference_sum for found in run.agreements),
        ),
        below=_below(run, min_cosine),
        latency=latency,
    )


def _below(run: _BackendRun, min_cosine: float) -> BelowThreshold | None:
    for place, fidelities in run.from_first:
        for position, (name, found) in enumerate(fidelities.items()):
            if found.cosine is None or found.cosine < min_cosine:
                return BelowThreshold(run.backend.name, name, place, found.cosine, unseen_before=position == 0)
    return None


def _figures(frames: Sequence[tuple[FramePlace, Mapping[str, Fidelity]]]) -> dict[str, TensorFigures]:
    names = frames[0][1] if frames else ()
    return {name: _figures_of([(place, fidelities[name]) for place, fidelities in frames]) for name in names}


def _figures_of(frames: Sequence[tuple[FramePlace, Fidelity]]) -> TensorFigures:
    finite = [(found.cosine, found.relative_error, place) for place, found in frames if found.cosine is not None]
    broken = next((place for place, found in frames if found.cosine is None), None)
    errors = [error for _, error, _ in finite if error is not None]
    worst, _, worst_at = min(finite, key=lambda one: one[0], default=(None, None, frames[0][0]))
    return TensorFigures(
        mean_cosine=math.fsum(cosine for cosine, _, _ in finite) / len(finite) if finite else None,
        worst_cosine=None if broken else worst,
        worst_relative_error=None if broken else max(errors, default=None),
        worst_at=broken or worst_at,
    )
