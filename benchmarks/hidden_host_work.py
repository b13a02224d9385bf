"""The host's work beside a model that takes as long as an NPU: one frame after the other, and as `infer` does it.

    python -m benchmarks.hidden_host_work inference_config.json scenes

The model is a stand-in that sleeps for 91 ms, what BEVFormer-Tiny takes on an AX650, and then gives boxes. Both ways
decode the same images, prepare the same inputs, and write the same JSON and the same images, in this process, one after
the other; `--rounds` times, of which the best counts. Frames are those of the scenes, over and over. Prints a Markdown
table: frames per second, start and end included, the ratio of the two ways, what part of the model's own rate ours
reaches from its second frame on, and what the host's work takes.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bevformer_lib.config.inference_config import InferenceConfig, read_inference_config
from bevformer_lib.detections.infer_records import frame_record
from bevformer_lib.drawing.scene import SceneStyle, draw_scene_frame
from bevformer_lib.infer.detector import Detector
from bevformer_lib.infer.infer import infer_scenes
from bevformer_lib.infer.scene_output import open_scene_output
from bevformer_lib.infer.scene_stages import InferModel, InferSettings
from bevformer_lib.infer.stages import Throughput
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Scene
from tests.standins.sleeping_runtime import TINY_SECONDS, SleepingRuntime

_SCORE: Final = 0.3


def one_after_the_other(scene: Scene, model: InferModel, settings: InferSettings, output: Path) -> None:
    """Decode, infer, draw and write a frame, then begin with the next."""
    detector, style = model.detector, scene_style(scene, model)
    with open_scene_output(
        scene, output, {}, style.class_names, images=settings.images, video_fps=2.0 if settings.video else None
    ) as written:
        for position, frame in enumerate(scene.frames):
            images = detector.preprocessor.load(frame)
            detections = detector(
                images, lidar2img=frame.lidar_to_image, can_bus=frame.can_bus_absolute, first=position == 0
            )
            written.add(frame_record(frame, detections, style.class_names))
            if settings.draws:
                written.draw(frame, draw_scene_frame(style, frame, detector.preprocessor.padded(images), detections))


def scene_style(scene: Scene, model: InferModel) -> SceneStyle:
    """Return what the images of a scene have in common."""
    config = model.detector.config
    return SceneStyle(scene.name, model.name, config.class_names, config.pc_range, _SCORE)


def repeated(scenes: Sequence[Scene], count: int) -> Scene:
    """Return a scene of ``count`` frames made of others, over and over."""
    frames = [frame for scene in scenes for frame in scene.frames]
    chosen = [dataclasses.replace(frames[i % len(frames)], index=i) for i in range(count)]
    return Scene("repeated", tuple(chosen))


def frames_per_second(way: Callable[[Path], object], frames: int, rounds: int) -> float:
    """Return the best round's rate."""
    best = 0.0
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            way(Path(folder) / "out")
            best = max(best, frames / (time.perf_counter() - begun))
    return best


def measure(config: InferenceConfig, scene: Scene, image_hw: tuple[int, int], boxes: int, rounds: int) -> list[str]:
    """Return a row of the table for each kind of output."""
    rows = []
    kinds = {"JSON": (False, False), "JSON, images": (True, False), "JSON, images, video": (True, True)}
    for kind, (images, video) in kinds.items():
        settings = InferSettings(_SCORE, 2.0, images=images, video=video)
        runtime = SleepingRuntime(config, image_hw, boxes=boxes)
        # Cameras of a frame share the processors in the plain way; in ours, frames do.
        plain, ours = (
            InferModel(Detector(runtime, config, score_threshold=_SCORE, frame_threads=threads), "m", {})
            for threads in (None, 1)
        )
        reached: list[Throughput | None] = []

        def overlap(folder: Path, ours: InferModel = ours, settings: InferSettings = settings) -> None:
            reached.append(infer_scenes([scene], ours, settings, folder).throughput)  # noqa: B023 - called at once

        def in_turn(folder: Path, plain: InferModel = plain, settings: InferSettings = settings) -> None:
            one_after_the_other(scene, plain, settings, folder)

        count = len(scene.frames)
        after, beside = (frames_per_second(way, count, rounds) for way in (in_turn, overlap))
        best = max((found for found in reached if found), key=lambda found: found.frames_per_second)
        rows.append(
            f"| {kind}, {boxes} boxes | {after:.2f} | {beside:.2f} | {beside / after:.2f} | "
            f"{best.frames_per_second * TINY_SECONDS:.1%} | {best.host_total:.3f} |"
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--image-size", type=int, nargs=2, default=(480, 800), help="height and width")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--boxes", type=int, nargs="+", default=(30, 300))
    given = parser.parse_args(arguments)
    config, image_hw = read_inference_config(given.config), tuple(given.image_size)
    found = read_scenes(given.scenes, SceneRequirements(6, image_hw, config.img_norm))
    scene = repeated(found, given.frames)
    machine = f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"
    print(f"{machine}; the model alone: {1 / TINY_SECONDS:.2f} frames/s\n")
    print("| | one after the other | infer | ratio | of the model's rate | host, s of CPU a frame |")
    print("| --- | --- | --- | --- | --- | --- |")
    for boxes in given.boxes:
        for row in measure(config, scene, image_hw, boxes, given.rounds):
            print(row, flush=True)


if __name__ == "__main__":
    main()
