"""Scenes for training: rendered from seeds by processes beside the training, or read from scene folders."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.errors import SceneError
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import GroundTruthBox, Scene
from bevformer_lib.synthetic_scenes.drive import can_bus_absolute
from bevformer_lib.synthetic_scenes.layout import make_world
from bevformer_lib.synthetic_scenes.make import FRAME_PERIOD_S, scene_cameras, scene_name, visible_boxes
from bevformer_lib.synthetic_scenes.render import NO_OBJECT, RenderedFrame, Renderer
from bevformer_lib.synthetic_scenes.world import World, box_in_lidar_frame
from bevformer_lib.training.scene_pool import UNKNOWN_CLASS, PoolRecipe, SceneArrays, ScenePool, frame_boxes


def render_scene(seed: int, recipe: PoolRecipe) -> SceneArrays:
    """Return the synthetic scene of a seed; one seed, one scene, always the same."""
    world = make_world(
        scene_name(seed), scene_number=seed, duration_s=(recipe.frames_per_scene - 1) * FRAME_PERIOD_S, seed=seed
    )
    cameras = scene_cameras(recipe.num_cams, recipe.image_scale, number=seed, seed=seed)
    renderer = Renderer(world, cameras)
    lidar_to_image = np.stack([camera.lidar_to_image for camera in cameras])
    images, can_bus, boxes, maps = [], [], [], []
    for index in range(recipe.frames_per_scene):
        rendered = renderer.render(index * FRAME_PERIOD_S, index)
        images.append(np.stack(rendered.images))
        can_bus.append(can_bus_absolute(rendered.ego))
        boxes.append(visible_boxes(rendered, world, recipe.class_names))
        maps.append(_object_maps(rendered, world, recipe))
    return _scene(images, [lidar_to_image] * len(images), can_bus, boxes, maps, recipe)


def scenes_from_folder(folder: Path, pool: ScenePool, config: ModelConfig, recipe: PoolRecipe) -> list[int]:
    """Put the annotated scenes of a scene folder into a pool, numbered in their order; return the numbers.

    Raises:
        SceneError: the folder has defects, or a frame without boxes.
    """
    requirements = SceneRequirements.of_model(config)
    reader = Preprocessor(config.image_hw, config.img_norm)
    scenes = read_scenes(folder, requirements)
    for number, scene in enumerate(scenes):
        if not pool.holds(number):
            pool.write(number, _read_scene(scene, reader, recipe))
    return list(range(len(scenes)))


def _read_scene(scene: Scene, reader: Preprocessor, recipe: PoolRecipe) -> SceneArrays:
    shape = (recipe.num_cams, *recipe.map_hw)
    unknown = np.full(shape, UNKNOWN_CLASS, dtype=np.uint8), np.zeros(shape, dtype=np.float16)
    boxes = []
    for frame in scene.frames:
        if frame.gt_boxes is None:
            raise SceneError(f"{frame.meta_path}: has no gt_boxes; a model can't be trained on it")
        boxes.append(frame.gt_boxes)
    return _scene(
        [np.stack(reader.load(frame)) for frame in scene.frames],
        [frame.lidar_to_image for frame in scene.frames],
        [frame.can_bus_absolute for frame in scene.frames],
        boxes,
        [unknown] * len(boxes),
        recipe,
    )


def start_renderers(pool: ScenePool, seeds: Sequence[int], recipe: PoolRecipe, *, workers: int) -> list[BaseProcess]:
    """Start processes that render the seeds that a pool lacks, in their order; they end when this process does."""
    context = multiprocessing.get_context("spawn")
    missing = [seed for seed in seeds if not pool.holds(seed)]
    processes: list[BaseProcess] = []
    for worker in range(min(workers, len(missing))):
        process = context.Process(
            target=_render_seeds, args=(pool.folder, missing[worker::workers], recipe, os.getpid()), daemon=True
        )
        process.start()
        processes.append(process)
    return processes


def _render_seeds(folder: Path, seeds: Sequence[int], recipe: PoolRecipe, parent: int) -> None:
    cv2.setNumThreads(1)
    pool = ScenePool(folder)
    for seed in seeds:
        if os.getppid() != parent:
            return
        pool.write(seed, render_scene(seed, recipe))


def _scene(
    images: list[NDArray[np.uint8]],
    lidar_to_image: Sequence[NDArray[np.float64]],
    can_bus: Sequence[NDArray[np.float64]],
    boxes: Sequence[tuple[GroundTruthBox, ...]],
    maps: Sequence[tuple[NDArray[np.uint8], NDArray[np.float16]]],
    recipe: PoolRecipe,
) -> SceneArrays:
    coded = [frame_boxes(frame, recipe) for frame in boxes]
    return SceneArrays(
        images=np.stack(images),
        lidar_to_image=np.stack(lidar_to_image).astype(np.float32),
        can_bus_absolute=np.stack(can_bus),
        boxes=np.concatenate([codes for codes, _ in coded]),
        labels=np.concatenate([labels for _, labels in coded]),
        box_ends=np.cumsum([len(labels) for _, labels in coded]),
        class_map=np.stack([classes for classes, _ in maps]),
        log_distance=np.stack([distances for _, distances in maps]),
    )


def _object_maps(
    rendered: RenderedFrame, world: World, recipe: PoolRecipe
) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Return which class and how far an object every ``map_stride``-th pixel shows; the padding is unknown."""
    classes = np.full(len(world.actors) + 1, len(recipe.class_names), dtype=np.uint8)
    distances = np.zeros(len(world.actors) + 1, dtype=np.float16)
    for number, (actor, pose) in enumerate(zip(world.actors, rendered.poses, strict=True)):
        if actor.category in recipe.class_names:
            box = box_in_lidar_frame(actor, pose, rendered.ego, rendered.lidar_to_ego)
            classes[number] = recipe.class_names.index(actor.category)
            distances[number] = math.log(max(math.hypot(*box.center_m), 1.0))
    stride = recipe.map_stride
    shown = np.stack([seen[stride // 2 :: stride, stride // 2 :: stride] for seen in rendered.objects])
    shown = np.where(shown == NO_OBJECT, len(world.actors), shown)
    class_map = np.full((len(shown), *recipe.map_hw), UNKNOWN_CLASS, dtype=np.uint8)
    log_distance = np.zeros(class_map.shape, dtype=np.float16)
    class_map[:, : shown.shape[1], : shown.shape[2]] = classes[shown]
    log_distance[:, : shown.shape[1], : shown.shape[2]] = distances[shown]
    return class_map, log_distance
