"""What is done with a frame of a scene at each stage, and what a run of them wants."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from bevformer_lib.detections.infer_records import frame_record
from bevformer_lib.detections.types import Detections
from bevformer_lib.drawing.processes import DrawnFrame
from bevformer_lib.drawing.scene import SceneStyle
from bevformer_lib.drawing.style import Image
from bevformer_lib.errors import OutputError
from bevformer_lib.infer.detector import Detector, require_score
from bevformer_lib.infer.scene_output import SceneOutput, open_scene_output
from bevformer_lib.infer.stages import FrameTimes, StageClock
from bevformer_lib.runtime.temporal import StepResult
from bevformer_lib.scenes.ego import can_bus_delta
from bevformer_lib.scenes.types import Frame, FrameInputs, Scene

Draw: TypeAlias = Callable[[SceneStyle, Frame, Sequence[Image], Detections], DrawnFrame]
"""Draws a frame, in any thread."""


@dataclass(frozen=True)
class InferModel:
    """A loaded model and what belongs to it.

    Attributes:
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
        require_score(self.score_threshold)
        if not 0.0 < self.fps < float("inf"):
            raise OutputError(f"a video of {self.fps} frames per second can't be made; give a positive number")

    @property
    def draws(self) -> bool:
        """Whether frames are drawn."""
        return self.images or self.video


@dataclass(frozen=True)
class Place:
    """Which frame of which scene."""

    scene: Scene
    position: int

    @property
    def frame(self) -> Frame:
        """The frame itself."""
        return self.scene.frames[self.position]

    @property
    def is_first(self) -> bool:
        """Whether there is no frame before."""
        return self.position == 0

    @property
    def is_last(self) -> bool:
        """Whether the scene ends here."""
        return self.position == len(self.scene.frames) - 1


@dataclass(frozen=True)
class _Prepared:
    place: Place
    images: list[Image]
    inputs: FrameInputs
    times: FrameTimes


@dataclass(frozen=True)
class _Ran:
    place: Place
    images: list[Image]
    step: StepResult
    times: FrameTimes


@dataclass(frozen=True)
class _Finished:
    place: Place
    record: dict[str, Any]
    image: Image | None
    times: FrameTimes


@dataclass(frozen=True)
class Kept:
    """A frame that all is done with."""

    place: Place
    boxes: int
    times: FrameTimes


class SceneStages:
    """What is done with each frame; as a context, it removes what a scene that is not finished has left."""

    def __init__(
        self,
        model: InferModel,
        settings: InferSettings,
        output_dir: Path,
        conditions: Mapping[str, Mapping[str, Any]],
        draw: Draw,
    ) -> None:
        self._model, self._settings, self._output_dir, self._conditions = model, settings, output_dir, conditions
        self._draw = draw
        self._detector = model.detector
        self._idle_since: float | None = None
        self._open = ExitStack()
        self._output: SceneOutput | None = None

    def __enter__(self) -> SceneStages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, traceback)

    def prepare(self, place: Place) -> _Prepared:
        """Read a frame and turn it into the model's inputs."""
        clock, frame = StageClock(), place.frame
        images = self._detector.preprocessor.load(frame)
        clock.lap("load")
        previous = None if place.is_first else place.scene.frames[place.position - 1].can_bus_absolute
        inputs = self._detector.prepare(
            images,
            lidar2img=frame.lidar_to_image,
            can_bus_delta=can_bus_delta(frame.can_bus_absolute, previous),
            source=str(frame.meta_path),
        )
        clock.lap("preprocess")
        return _Prepared(place, images if self._settings.draws else [], inputs, clock.times)

    def run(self, prepared: _Prepared) -> _Ran:
        """Run the model."""
        step = self._detector.run(prepared.inputs, first=prepared.place.is_first)
        ended = time.perf_counter()
        begun = ended - step.seconds
        wait = 0.0 if self._idle_since is None else begun - self._idle_since
        self._idle_since = ended
        wall = dataclasses.replace(prepared.times.wall, wait=wait, inference=step.seconds)
        return _Ran(prepared.place, prepared.images, step, dataclasses.replace(prepared.times, wall=wall))

    def finish(self, ran: _Ran) -> _Finished:
        """Decode boxes, and draw them."""
        clock, place = StageClock(), ran.place
        class_names = self._detector.config.class_names
        threshold = self._settings.score_threshold
        detections = self._detector.decode(ran.step, str(place.frame.meta_path), score_threshold=threshold)
        record = frame_record(place.frame, detections, class_names)
        clock.lap("postprocess")
        image = None
        if self._settings.draws:
            style = SceneStyle(
                scene_name=place.scene.name,
                model_name=self._model.name,
                class_names=class_names,
                pc_range=self._detector.config.pc_range,
                score_threshold=threshold,
            )
            images = self._detector.preprocessor.padded(ran.images)
            drawn = self._draw(style, place.frame, images, detections)
            image = drawn.image
            clock.lap("draw", elsewhere=drawn.cpu_seconds)
        return _Finished(place, record, image, ran.times + clock.times)

    def keep(self, finished: _Finished) -> Kept:
        """Write a frame's image, and with the last one of a scene its folder."""
        clock, place = StageClock(), finished.place
        if self._output is None:
            self._output = self._open.enter_context(
                open_scene_output(
                    place.scene,
                    self._output_dir / place.scene.name,
                    self._conditions[place.scene.name],
                    self._detector.config.class_names,
                    images=self._settings.images,
                    video_fps=self._settings.fps if self._settings.video else None,
                )
            )
        self._output.add(finished.record)
        clock.lap("postprocess")
        if finished.image is not None:
            self._output.draw(place.frame, finished.image)
            clock.lap("draw")
        if place.is_last:
            self._open.close()
            self._output = None
            clock.lap("postprocess")
        return Kept(place, len(finished.record["boxes"]), finished.times + clock.times)
