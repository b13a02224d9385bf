"""A model over scenes: detections, an image per frame and a video, a folder per scene.

While a frame is inferred, the next one's images are decoded and the last one's are drawn, each in a thread.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bevformer_lib.detections.infer_records import (
    DETECTIONS_FILE,
    frame_record,
    is_finished,
    scene_record,
)
from bevformer_lib.drawing.scene import SceneStyle, open_scene_drawing
from bevformer_lib.errors import OutputError
from bevformer_lib.evaluate.summary import Latency
from bevformer_lib.files import atomic_path, write_json
from bevformer_lib.infer.detector import Detector
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.scenes.fingerprint import scene_fingerprint
from bevformer_lib.scenes.stream import stream_inputs
from bevformer_lib.scenes.types import Scene

TIMINGS_FILE: Final = "timings.json"

_FRAMES_WAITING: Final = 2
"""Frames that may wait to be drawn; beyond that inference waits, so that memory stays bounded."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InferModel:
    """A loaded model and what belongs to it.

    Attributes:
        detector: runs it.
        name: shown in the images.
        made_with: what decides its results (digests of model and config, runtime, device); recorded with
            them, and compared on the next run.
        load_seconds: time that loading the model took; recorded with the timings.
    """

    detector: Detector
    name: str
    made_with: Mapping[str, str]
    load_seconds: float | None = None


@dataclass(frozen=True)
class InferSettings:
    """What is wanted of a run.

    Attributes:
        score_threshold: boxes at or below are dropped, in [0, 1]; where none passes, a frame is empty.
        fps: frames per second of the videos.
        images: whether an image per frame is written.
        video: whether a video per scene is written.
    """

    score_threshold: float
    fps: float
    images: bool = True
    video: bool = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.score_threshold <= 1.0:
            raise OutputError(f"the score threshold is {self.score_threshold}; give a number from 0 to 1")
        if not 0.0 < self.fps < float("inf"):
            raise OutputError(f"a video of {self.fps} frames per second can't be made; give a positive number")


@dataclass(frozen=True)
class StageSeconds:
    """Wall-clock seconds of one frame.

    Attributes:
        load: reading and decoding the images, ahead in a thread.
        preprocess: normalising and padding them, ahead in a thread, and bringing all tensors into the model's types.
        inference: inside the runtime.
        postprocess: from raw outputs to boxes.
        draw: image and video, behind in a thread; 0 where neither is wanted.
    """

    load: float
    preprocess: float
    inference: float
    postprocess: float
    draw: float


STAGES: Final = tuple(field.name for field in dataclasses.fields(StageSeconds))


@dataclass(frozen=True)
class InferResult:
    """What a run did.

    Attributes:
        inferred: names of the scenes that were run.
        finished_before: names of the scenes that an earlier run had finished, and this one left alone.
        frames: frames that were run.
        boxes: boxes found in these.
        latency: by stage; ``None`` where no scene was run that has a second frame (first frames are warm-up).
    """

    inferred: tuple[str, ...]
    finished_before: tuple[str, ...]
    frames: int
    boxes: int
    latency: Mapping[str, Latency | None]


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
        RuntimeUnavailableError: the model is no BEVFormer graph, or the frames don't fit it.
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

    total = sum(len(scene.frames) for scene in waiting)
    seconds: dict[str, list[StageSeconds]] = {}
    boxes = 0
    for scene in waiting:
        before = sum(map(len, seconds.values()))

        def on_frame(done: int, before: int = before) -> None:
            on_progress("inferring", before + done, total)

        with atomic_path(output_dir / scene.name) as folder:
            folder.mkdir()
            records, seconds[scene.name] = _infer_scene(scene, model, settings, folder, on_frame)
            content = scene_record(scene, conditions[scene.name], model.detector.config.class_names, records)
            write_json(folder / DETECTIONS_FILE, content)
        boxes += sum(len(record["boxes"]) for record in records)
    latency = latency_by_stage(list(seconds.values()))
    if waiting:
        write_json(output_dir / TIMINGS_FILE, _timings(model, seconds, latency))
    return InferResult(tuple(seconds), tuple(finished), total, boxes, latency)


def latency_by_stage(scenes: Sequence[Sequence[StageSeconds]]) -> dict[str, Latency | None]:
    """Return median and 95th percentile per stage; scenes' first frames are left out as warm-up."""
    warm = [frame for scene in scenes for frame in scene[1:]]
    if not warm:
        return dict.fromkeys(STAGES)
    latency: dict[str, Latency | None] = {}
    for stage in STAGES:
        values = [getattr(frame, stage) for frame in warm]
        latency[stage] = Latency(float(np.median(values)), float(np.percentile(values, 95)), len(values))
    return latency


def _infer_scene(
    scene: Scene,
    model: InferModel,
    settings: InferSettings,
    folder: Path,
    on_frame: Callable[[int], None],
) -> tuple[list[dict[str, Any]], list[StageSeconds]]:
    """Run one scene, draw it into ``folder``, and return its frames' records and seconds."""
    detector = model.detector
    style = SceneStyle(
        scene_name=scene.name,
        model_name=model.name,
        class_names=model.detector.config.class_names,
        pc_range=model.detector.config.pc_range,
        score_threshold=settings.score_threshold,
    )
    records: list[dict[str, Any]] = []
    seconds: list[StageSeconds] = []
    being_drawn: deque[tuple[StageSeconds, Future[float]]] = deque()

    def finish_one() -> None:
        stages, drawing = being_drawn.popleft()
        seconds.append(dataclasses.replace(stages, draw=drawing.result()))
        on_frame(len(seconds))

    fps = settings.fps if settings.video else None
    with (
        open_scene_drawing(folder, detector.preprocessor, style, images=settings.images, video_fps=fps) as drawing,
        ThreadPoolExecutor(1, thread_name_prefix="draw-behind") as behind,
    ):
        for decoded in stream_inputs(scene.frames, detector.preprocessor):
            step = detector.run(decoded.inputs, first=not records)
            start = time.perf_counter()
            detections = detector.decode(step, decoded.inputs.source)
            postprocess = time.perf_counter() - start
            records.append(frame_record(decoded.frame, detections, model.detector.config.class_names))
            stages = StageSeconds(
                load=decoded.load_seconds,
                preprocess=decoded.preprocess_seconds + step.prepare_seconds,
                inference=step.seconds,
                postprocess=postprocess,
                draw=0.0,
            )
            being_drawn.append((stages, behind.submit(drawing.add, decoded.frame, detections)))
            if len(being_drawn) > _FRAMES_WAITING:
                finish_one()
        while being_drawn:
            finish_one()
    return records, seconds


def _timings(
    model: InferModel, seconds: Mapping[str, Sequence[StageSeconds]], latency: Mapping[str, Latency | None]
) -> dict[str, Any]:
    return {
        "made_with": dict(model.made_with),
        "model_load_seconds": model.load_seconds,
        "stages": {name: None if found is None else dataclasses.asdict(found) for name, found in latency.items()},
        "scenes": {name: [dataclasses.asdict(frame) for frame in frames] for name, frames in seconds.items()},
    }
