"""A toy model with scenes that fit it, and calibration sets made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from bevformer_lib.calibration.collect import collect_scene_samples
from bevformer_lib.calibration.pack import pack_calibration
from bevformer_lib.calibration.plan import plan_samples
from bevformer_lib.calibration.samples import CalibrationSample, samples_from_scenes
from bevformer_lib.export.pixel_input import normalize_inside
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Scene
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes
from tests.support.toy_graph import write_toy_graph


@dataclass(frozen=True)
class ToyWorld:
    """A toy graph, and scenes in its image size."""

    model: Path
    scenes_root: Path
    scenes: dict[str, Scene]
    preprocessor: Preprocessor


def make_toy_world(folder: Path, *, num_scenes: int = 3, frames_per_scene: int = 5) -> ToyWorld:
    config = micro_config()
    root = write_scenes(
        folder / "scènes", num_scenes=num_scenes, frames_per_scene=frames_per_scene, image_hw=config.image_hw
    )
    scenes = read_scenes(root, SceneRequirements.of_model(config))
    return ToyWorld(
        write_toy_graph(folder / "toy.onnx"),
        root,
        {scene.name: scene for scene in scenes},
        Preprocessor(config.image_hw, config.img_norm),
    )


def with_pixels(world: ToyWorld, model: Path) -> ToyWorld:
    """Write the toy graph once more, taking pixels; return a world in which it stands for the other."""
    graph = onnx.load(str(world.model))
    normalize_inside(graph.graph, world.preprocessor.img_norm)
    onnx.save(graph, str(model))
    return replace(world, model=model, preprocessor=replace(world.preprocessor, pixels=True))


def make_samples(world: ToyWorld, folder: Path, num_samples: int, seed: int = 0) -> list[CalibrationSample]:
    """Plan and collect; states go into ``folder``."""
    plan = plan_samples({name: len(scene.frames) for name, scene in world.scenes.items()}, num_samples, seed)
    runtime = OnnxRuntime(world.model, threads=1)
    collected = {
        name: collect_scene_samples(world.scenes[name], positions, runtime, world.preprocessor, folder / name)
        for name, positions in plan.positions().items()
    }
    return list(samples_from_scenes(plan, world.scenes, collected, world.preprocessor))


def make_calibration(world: ToyWorld, folder: Path, num_samples: int = 4) -> Path:
    """Write a calibration set and return its folder."""
    samples = make_samples(world, folder / "collected", num_samples)
    output = folder / "calibration"
    pack_calibration(samples, output, num_samples=num_samples, seed=0, model_sha256="0" * 64)
    return output


def brute_force_prev_bev(world: ToyWorld, scene: str) -> list[np.ndarray]:
    """Every frame's ``prev_bev``, by running the whole scene."""
    from bevformer_lib.runtime.temporal import TemporalSession

    session = TemporalSession(OnnxRuntime(world.model, threads=1))
    frames, states = world.scenes[scene].frames, []
    for position, frame in enumerate(frames):
        previous = frames[position - 1] if position else None
        states.append(session.step(world.preprocessor.inputs(frame, previous), first=position == 0).prev_bev)
    return states
