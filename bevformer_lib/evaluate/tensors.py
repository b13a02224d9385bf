"""Tensors inside two models, compared over a scene: where in the network a compiled model starts to differ."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from bevformer_lib.errors import ConfigError
from bevformer_lib.fidelity import Fidelity, tensor_fidelity
from bevformer_lib.names import OUTPUT_NAMES
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.runtime.base import Runtime, TensorSpec
from bevformer_lib.runtime.host import HostPreparation, fed_to
from bevformer_lib.runtime.temporal import TemporalSession
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.stream import stream_inputs
from bevformer_lib.scenes.types import Scene


@dataclass(frozen=True)
class SceneTensors:
    """Fidelity of named tensors through a scene.

    Attributes:
        frames: numbers of its frames, in time order.
        fidelity: by tensor name, in the order of the reference's outputs: one per frame.
    """

    scene: str
    frames: tuple[int, ...]
    fidelity: Mapping[str, tuple[Fidelity, ...]]


@dataclass(frozen=True)
class TensorSummary:
    """Fidelity of a tensor over all frames of all scenes; ``None`` where nothing finite was compared.

    Attributes:
        frames: compared, the not finite ones included.
        frames_not_finite: with a value that is not finite in either model.
        mean_sqnr_db: mean over the frames that differ at all; ``None`` too where none does.
        worst_scene: the first that is not finite, else that of the smallest cosine.
    """

    name: str
    frames: int
    frames_not_finite: int
    mean_cosine: float | None
    worst_cosine: float | None
    mean_relative_error: float | None
    max_abs_error: float | None
    mean_sqnr_db: float | None
    worst_scene: str | None


def compare_tensors(
    scene: Scene,
    *,
    reference: Runtime,
    candidate: Runtime,
    preprocessor: Preprocessor,
    candidate_preparation: HostPreparation | None = None,
    on_progress: ProgressCallback = no_progress,
) -> SceneTensors:
    """Run two models, each fed its own prev_bev states, and compare the intermediate outputs that both give.

    Args:
        scene: frames in time order.
        reference: such as the float graph of
            :func:`bevformer_lib.export.intermediate_outputs.with_intermediate_outputs`.
        candidate: made from it; tensors that only one of them puts out are left alone.
        preprocessor: turns frames into inputs.
        candidate_preparation: what the host does to the candidate's tensors before.
        on_progress: told the scene's name and the frames done.

    Raises:
        ConfigError: a tensor has another shape in the candidate.
        RuntimeUnavailableError: a model is no BEVFormer graph, or the frames don't fit it.
    """
    watched = _Watched(reference), _Watched(candidate)
    names = [name for name in reference.outputs if name in candidate.outputs]
    shapes = {name: (reference.outputs[name].shape, candidate.outputs[name].shape) for name in names}
    for name, (expected, found) in shapes.items():
        if expected != found:
            raise ConfigError(f"tensor {name} is {expected} in the reference and {found} in the candidate")
    types_only = HostPreparation(preprocessor.img_norm)
    sessions = TemporalSession(watched[0], types_only), TemporalSession(watched[1], candidate_preparation or types_only)
    frames: list[int] = []
    fidelity: dict[str, list[Fidelity]] = {name: [] for name in names}
    for decoded in stream_inputs(scene.frames, fed_to(preprocessor, reference, candidate)):
        for session in sessions:
            session.step(decoded.inputs, first=not frames)
        for name in names:
            fidelity[name].append(tensor_fidelity(watched[0].last[name], watched[1].last[name]))
        frames.append(decoded.frame.index)
        on_progress(scene.name, len(frames), len(scene.frames))
    return SceneTensors(scene.name, tuple(frames), {name: tuple(found) for name, found in fidelity.items()})


def summarize_tensors(scenes: Sequence[SceneTensors]) -> tuple[TensorSummary, ...]:
    """Return a summary per tensor that all scenes have, in the order of the first."""
    if not scenes:
        return ()
    names = [name for name in scenes[0].fidelity if all(name in scene.fidelity for scene in scenes)]
    return tuple(
        _summary(name, [(scene.scene, one) for scene in scenes for one in scene.fidelity[name]]) for name in names
    )


def _summary(name: str, frames: Sequence[tuple[str, Fidelity]]) -> TensorSummary:
    cosines = [(one.cosine, scene) for scene, one in frames if one.cosine is not None]
    errors = [one.relative_error for _, one in frames if one.relative_error is not None]
    largest = [one.max_abs_error for _, one in frames if one.max_abs_error is not None]
    noise = [one.sqnr_db for _, one in frames if one.sqnr_db is not None]
    worst_cosine, worst_scene = min(cosines, key=lambda found: found[0], default=(None, None))
    broken = [scene for scene, one in frames if one.not_finite]
    return TensorSummary(
        name=name,
        frames=len(frames),
        frames_not_finite=len(broken),
        mean_cosine=_mean([cosine for cosine, _ in cosines]),
        worst_cosine=worst_cosine,
        mean_relative_error=_mean(errors),
        max_abs_error=max(largest, default=None),
        mean_sqnr_db=_mean(noise),
        worst_scene=broken[0] if broken else worst_scene,
    )


def _mean(values: Collection[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


class _Watched:
    """A runtime that shows the temporal loop its own outputs only, and keeps all of the last run."""

    def __init__(self, runtime: Runtime) -> None:
        self.inputs: Mapping[str, TensorSpec] = runtime.inputs
        self.outputs: Mapping[str, TensorSpec] = {
            name: spec for name, spec in runtime.outputs.items() if name in OUTPUT_NAMES
        }
        self.metadata: Mapping[str, str] = runtime.metadata
        self.last: Mapping[str, NDArray[Any]] = {}
        self._runtime = runtime

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.last = self._runtime.run(feed)
        return {name: self.last[name] for name in self.outputs}
