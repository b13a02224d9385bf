"""A model over scenes: detections, an image per frame and a video, a folder per scene.

While the model runs a frame, the next ones are decoded and prepared, and the ones before are drawn and written.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bevformer_lib.detections.infer_records import is_finished
from bevformer_lib.drawing.processes import draw_here, open_drawing_processes
from bevformer_lib.evaluate.summary import Latency
from bevformer_lib.files import write_json
from bevformer_lib.infer.overlap import WORKERS, overlapped
from bevformer_lib.infer.scene_stages import Draw, InferModel, InferSettings, Place, SceneStages
from bevformer_lib.infer.stages import FrameTimes, Throughput, latency_by_stage, throughput_of
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.scenes.fingerprint import scene_fingerprint
from bevformer_lib.scenes.types import Scene

TIMINGS_FILE: Final = "timings.json"

_WORTH_PROCESSES: Final = 16
"""Frames from which on processes that draw are worth their start, half a second of a processor each."""
_SWITCH_SECONDS: Final = 0.0005
"""How long a thread that computes in Python may keep the others waiting: above all the one that feeds the model."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InferResult:
    """What a run did.

    Attributes:
        finished_before: names of the scenes that an earlier run had finished, and this one left alone.
        latency: by stage; ``None`` where no scene was run that has a second frame (first frames are warm-up).
        throughput: ``None`` where less than two frames were run.
    """

    inferred: tuple[str, ...]
    finished_before: tuple[str, ...]
    frames: int
    boxes: int
    latency: Mapping[str, Latency | None]
    throughput: Throughput | None


def infer_scenes(
    scenes: Sequence[Scene],
    model: InferModel,
    settings: InferSettings,
    output_dir: Path,
    *,
    on_progress: ProgressCallback = no_progress,
) -> InferResult:
    """Run a model over scenes and write ``output_dir/<scene>/`` for each: detections, images, video.

    A scene's folder appears when all of it is there. Scenes that an earlier run finished with the same
    model and settings are left alone; whatever else is in the way is found before any work starts.
    ``output_dir/timings.json`` tells how long the stages of this run took.

    Args:
        scenes: with different names.
        model: the model.
        settings: what is wanted.
        output_dir: made if missing.
        on_progress: told the finished frames of all scenes that are run.

    Raises:
        OutputError: a scene's folder holds something else, or an image or video can't be written.
        SceneError: an image can't be read.
        RuntimeUnavailableError: the model is no BEVFormer graph, the frames don't fit it, or it gives no numbers.
        CameraCalibrationError: a frame's cameras exceed the model's camera capacity.
    """
    conditions = {
        scene.name: {**model.made_with, **dataclasses.asdict(settings), "scene_sha256": scene_fingerprint(scene)}
        for scene in scenes
    }
    finished = [scene.name for scene in scenes if is_finished(output_dir / scene.name, conditions[scene.name])]
    waiting = [scene for scene in scenes if scene.name not in finished]
    for name in finished:
        _log.info("%s was finished before", name)

    places = [Place(scene, position) for scene in waiting for position in range(len(scene.frames))]
    times: dict[str, list[FrameTimes]] = {scene.name: [] for scene in waiting}
    boxes = done = 0
    with _prompt_switches(), ExitStack() as stack:
        draw: Draw = draw_here
        if settings.draws and len(places) >= _WORTH_PROCESSES:
            draw = stack.enter_context(open_drawing_processes(WORKERS))
        work = stack.enter_context(SceneStages(model, settings, output_dir, conditions, draw))
        stages = overlapped(places, prepare=work.prepare, run=work.run, finish=work.finish, keep=work.keep)
        for frame in stack.enter_context(closing(stages)):
            times[frame.place.scene.name].append(frame.times)
            boxes += frame.boxes
            done += 1
            on_progress("inferring", done, len(places))

    latency = latency_by_stage([[frame.wall for frame in scene] for scene in times.values()])
    throughput = throughput_of([frame for scene in times.values() for frame in scene])
    if waiting:
        write_json(output_dir / TIMINGS_FILE, _timings(model, times, latency, throughput))
    return InferResult(tuple(times), tuple(finished), len(places), boxes, latency, throughput)


@contextmanager
def _prompt_switches() -> Iterator[None]:
    """Let threads that compute in Python give way sooner."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _SWITCH_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _timings(
    model: InferModel,
    times: Mapping[str, Sequence[FrameTimes]],
    latency: Mapping[str, Latency | None],
    throughput: Throughput | None,
) -> dict[str, Any]:
    return {
        "made_with": dict(model.made_with),
        "model_load_seconds": model.load_seconds,
        "throughput": None if throughput is None else dataclasses.asdict(throughput),
        "stages": {name: None if found is None else dataclasses.asdict(found) for name, found in latency.items()},
        "scenes": {name: [dataclasses.asdict(frame.wall) for frame in frames] for name, frames in times.items()},
    }
