"""The search for the layers to keep, over whole scenes, within a time budget, resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bevformer_lib.config.inference_config import InferenceConfig
from bevformer_lib.detections.decode import decode_detections
from bevformer_lib.detections.types import Detections
from bevformer_lib.errors import ConversionError
from bevformer_lib.files import sha256_of_file
from bevformer_lib.precision.builders import CandidateBuilder
from bevformer_lib.precision.candidate import (
    BudgetExhaustedError,
    CandidateResult,
    EvaluationSetup,
    Thresholds,
    evaluate_candidate,
    map_and_nds,
)
from bevformer_lib.precision.groups import LayerGroup
from bevformer_lib.precision.search import Kept, PrecisionSearch
from bevformer_lib.precision.state import CandidateState
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.host import fed_to
from bevformer_lib.runtime.recorded import RecordingRuntime
from bevformer_lib.runtime.temporal import TemporalSession
from bevformer_lib.scenes.fingerprint import scene_fingerprint
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.stream import stream_inputs
from bevformer_lib.scenes.types import Scene
from bevformer_lib.scratch import remove_abandoned, scratch_folder

REFERENCE_FOLDER: Final = "reference"
_SCRATCH: Final = "scratch"
_SCENES, _PROBES = "scenes", "probes"


@dataclass(frozen=True)
class TuneTask:
    """What is searched.

    Attributes:
        scenes: whole scenes, over which the thresholds must hold.
        score_threshold: boxes at or below are dropped; ``None``: no threshold.
        probe_frames: frames over which every group alone is measured.
        seconds: time budget of this run.
        identity: what else decides the results: digests, converter and its settings.
        by_layer: whether groups that have to be kept are searched for the layers that have to.
    """

    model: Path
    reference: Runtime
    config: InferenceConfig
    preprocessor: Preprocessor
    scenes: Sequence[Scene]
    groups: Sequence[LayerGroup]
    builder: CandidateBuilder
    thresholds: Thresholds
    score_threshold: float | None
    probe_frames: int
    seconds: float
    identity: Mapping[str, str]
    by_layer: bool = True


@dataclass(frozen=True)
class TuneResult:
    """What a search found.

    Attributes:
        groups: those that were searched; a group whose layers were searched is there layer by layer.
        kept: names of those to keep; ``None``: none known that holds the thresholds, the time was up before.
        minimal: whether the search came to its end.
        sensitivity: error of every group quantised alone, as far as measured; infinite where a value was not finite.
        candidates: groups kept and result of those evaluated over scenes, in this run and earlier ones.
        new_candidates: how many this run evaluated, over scenes or probes.
        reference_metrics: mAP and NDS of the float model; ``None`` where no threshold asks for them.
    """

    groups: tuple[LayerGroup, ...]
    kept: tuple[str, ...] | None
    minimal: bool
    sensitivity: Mapping[str, float]
    candidates: Sequence[tuple[tuple[str, ...], CandidateResult]]
    frames: int
    new_candidates: int
    reference_metrics: tuple[float, float] | None = None


def tune_precision(task: TuneTask, folder: Path, *, on_progress: ProgressCallback = no_progress) -> TuneResult:
    """Search until the smallest set is found or the time is up.

    ``folder`` keeps the float model's outputs and every finished evaluation; the same call carries on from there.

    Raises:
        ConversionError: the thresholds are missed even with all groups kept.
        OutputError: the folder holds the state of another search.
    """
    deadline = time.monotonic() + task.seconds
    state = CandidateState(folder, _identity(task))
    remove_abandoned(folder / _SCRATCH)
    made = 0

    def check_time() -> None:
        if time.monotonic() >= deadline:
            raise BudgetExhaustedError

    def evaluated(kind: str, kept: Kept) -> CandidateResult:
        nonlocal made
        found = state.find(kind, kept)
        if found is None:
            check_time()
            found = _run(task, setup, kind, layers_of((*task.groups, *singles), kept), folder)
            state.add(kind, kept, found)
            made += 1
        on_progress(f"candidates over {kind}", made, made)
        return found

    def error_of(kept: Kept) -> float:
        error = evaluated(_PROBES, kept).mean_error
        return math.inf if error is None else error

    def holds(kept: Kept) -> bool:
        return evaluated(_SCENES, kept).passed

    singles: tuple[LayerGroup, ...] = ()
    search = PrecisionSearch(task.groups, holds, error_of)
    finer: PrecisionSearch | None = None
    reference_metrics = None
    try:
        setup = _prepare(task, folder, check_time, on_progress)
        reference_metrics = setup.reference_metrics
        search.run()
        chosen = [group for group in task.groups if group.name in (search.best or ())]
        if task.by_layer and any(len(group.layers) > 1 for group in chosen):
            singles = tuple(single for group in chosen for single in group.split())
            finer = PrecisionSearch(singles, holds, error_of)
            finer.shrink()
    except BudgetExhaustedError:
        pass
    if search.minimal and search.best is None:
        worst = state.find(_SCENES, [group.name for group in task.groups])
        reached = f"worst cosine {worst.worst_cosine if worst else None}"
        if worst is not None and reference_metrics is not None:
            reached += f", mAP {worst.mean_ap} and NDS {worst.nds} of {reference_metrics[0]} and {reference_metrics[1]}"
        raise ConversionError(
            f"the thresholds are missed even with every layer kept ({reached}): lower them, "
            "or look at what the converter does to the rest of the graph"
        )
    best, groups = search.best, task.groups
    if finer is not None:
        best = finer.best
        groups = tuple(one for group in task.groups for one in (group.split() if group in chosen else (group,)))
    return TuneResult(
        groups=tuple(groups),
        kept=None if best is None else tuple(group.name for group in groups if group.name in best),
        minimal=search.minimal and (finer is None or finer.minimal),
        sensitivity=search.sensitivity,
        candidates=state.scene_candidates(),
        frames=sum(len(scene.frames) for scene in task.scenes),
        new_candidates=made,
        reference_metrics=reference_metrics,
    )


def layers_of(groups: Sequence[LayerGroup], names: Collection[str]) -> list[str]:
    """Return the layers of the groups with these names, in the order of the groups."""
    return list(dict.fromkeys(layer for group in groups if group.name in names for layer in group.layers))


def _run(task: TuneTask, setup: EvaluationSetup, kind: str, layers: Sequence[str], folder: Path) -> CandidateResult:
    with scratch_folder(folder / _SCRATCH) as scratch:
        path = scratch / f"candidate{task.builder.suffix}"
        task.builder.build(layers, path)
        candidate = task.builder.open(path)
        if kind == _SCENES:
            return evaluate_candidate(setup, candidate, task.thresholds)
        return evaluate_candidate(setup, candidate, task.thresholds, max_frames=task.probe_frames, stop_early=False)


def _prepare(
    task: TuneTask, folder: Path, check_time: Callable[[], None], on_progress: ProgressCallback
) -> EvaluationSetup:
    """Run the float model over all scenes once (frames recorded by an earlier run are read): its boxes, its metrics."""
    recording = RecordingRuntime(task.reference, folder / REFERENCE_FOLDER, model_sha256=sha256_of_file(task.model))
    session = TemporalSession(recording)
    boxes = done = 0
    setup = EvaluationSetup(
        scenes=task.scenes,
        reference=recording,
        config=task.config,
        preprocessor=task.preprocessor,
        score_threshold=task.score_threshold,
        reference_boxes=0,
        check_time=check_time,
    )
    detections: dict[str, list[Detections]] = {scene.name: [] for scene in task.scenes}
    for scene in task.scenes:
        for position, decoded in enumerate(stream_inputs(scene.frames, fed_to(task.preprocessor, recording))):
            check_time()
            outputs = session.step(decoded.inputs, first=position == 0).outputs
            boxes += len(decode_detections(outputs, task.config.box_coder, score_threshold=task.score_threshold).scores)
            if task.thresholds.asks_metrics:
                detections[scene.name].append(decode_detections(outputs, task.config.box_coder))
            done += 1
            on_progress("float model", done, setup.frames)
    metrics = map_and_nds(task.scenes, detections, task.config) if task.thresholds.asks_metrics else None
    return replace(setup, reference_boxes=boxes, reference_metrics=metrics)


def _identity(task: TuneTask) -> dict[str, str]:
    asked = task.thresholds
    return {
        **task.identity,
        "scenes": " ".join(scene_fingerprint(scene) for scene in task.scenes),
        "groups": " ".join(f"{group.name}:{len(group.layers)}" for group in task.groups),
        "thresholds": f"cosine {asked.min_cosine}, matched {asked.min_matched}, mAP lost {asked.most_map_lost}, "
        f"NDS lost {asked.most_nds_lost}, score {task.score_threshold}",
        "probe_frames": str(task.probe_frames),
    }
