"""Synthetic scenes on disk: rendered, annotated and written in the published format."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib import __version__
from bevformer_lib.config.model_config import ImageNormConfig, ModelConfig
from bevformer_lib.errors import ConfigError, SceneError
from bevformer_lib.files import atomic_path, write_json
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.scenes.layout import SCENE_INDEX_NAME
from bevformer_lib.scenes.types import GroundTruthBox
from bevformer_lib.scenes.writer import padded_with_mean, write_frame, write_scene_index
from bevformer_lib.strict_json import read_json
from bevformer_lib.synthetic_scenes.cameras import Camera, camera_calibration, image_size_hw
from bevformer_lib.synthetic_scenes.drive import can_bus_absolute
from bevformer_lib.synthetic_scenes.layout import make_world
from bevformer_lib.synthetic_scenes.render import RenderedFrame, Renderer
from bevformer_lib.synthetic_scenes.workers import BetweenFrames, scenes_in_processes
from bevformer_lib.synthetic_scenes.world import World, box_in_lidar_frame

FRAME_PERIOD_S: Final = 0.5
"""Frames are keyframes at 2 Hz, as nuScenes has them."""
MAX_BOX_DISTANCE_M: Final = 50.0
"""Objects whose centre is farther from the LiDAR (on the ground plane) get no box."""
MIN_VISIBLE_PX: Final = 10
"""Objects that show less than this in every single image get no box (pixels at ``REFERENCE_SCALE``)."""
RECIPE_NAME: Final = "made_up.json"
"""The file in the output folder that says what is being rendered there."""

_FIRST_TIMESTAMP_US: Final = 1_600_000_000_000_000
_SCENE_SPACING_US: Final = 3_600_000_000


@dataclass(frozen=True)
class SceneRecipe:
    """Everything that synthetic scenes depend on; the same recipe gives the same bytes.

    Attributes:
        num_scenes: number of scenes; scene k is the same however many are made.
        num_cams: the first so many cameras of ``names.CAMERA_ORDER``.
        image_hw: padded image size (height, width), pixels.
        image_scale: factor from the 1600 x 900 camera image to the unpadded image.
        img_norm: recorded in the meta files; its mean is the colour of the padding.
        class_names: only objects of these classes get boxes.
        ground_truth: whether the meta files hold ``gt_boxes``.
    """

    num_scenes: int
    frames_per_scene: int
    num_cams: int
    image_hw: tuple[int, int]
    image_scale: float
    img_norm: ImageNormConfig
    class_names: tuple[str, ...]
    seed: int
    ground_truth: bool

    @classmethod
    def of_model(
        cls, config: ModelConfig, *, num_scenes: int, frames_per_scene: int, seed: int, ground_truth: bool = True
    ) -> SceneRecipe:
        """Return the recipe of scenes that a model takes."""
        return cls(
            num_scenes=num_scenes,
            frames_per_scene=frames_per_scene,
            num_cams=config.num_cams,
            image_hw=config.image_hw,
            image_scale=config.image_scale,
            img_norm=config.img_norm,
            class_names=config.class_names,
            seed=seed,
            ground_truth=ground_truth,
        )

    def __post_init__(self) -> None:
        """Check once.

        Raises:
            SceneError: a count is below 1 or the seed is negative.
            ConfigError: the image doesn't fit its padded size, or there are too many cameras.
        """
        for what, value, least in (
            ("number of scenes", self.num_scenes, 1),
            ("number of frames", self.frames_per_scene, 1),
            ("seed", self.seed, 0),
        ):
            if value < least:
                raise SceneError(f"{what}: {value}: must be at least {least}")
        camera_calibration(self.num_cams, self.image_scale)
        height, width = image_size_hw(self.image_scale)
        if height > self.image_hw[0] or width > self.image_hw[1]:
            raise ConfigError(
                f"image size {self.image_hw[0]} x {self.image_hw[1]}: the camera image scaled by {self.image_scale} "
                f"has {height} x {width} pixels and doesn't fit; give the model a matching size"
            )


def scene_name(number: int) -> str:
    """Return the name of a synthetic scene; it says what it is."""
    return f"synthetic-{number:04d}"


def make_scenes(
    output: Path, recipe: SceneRecipe, *, workers: int = 1, on_progress: ProgressCallback = no_progress
) -> int:
    """Render synthetic scenes into ``output``.

    A scene's folder appears when it is whole, the scene index when all are. A folder that was begun with the same
    recipe is carried on with; any other folder that isn't empty is refused.

    Args:
        output: the folder; made if missing.
        recipe: what to render.
        workers: processes that render, each its own scenes; 1: this one.
        on_progress: told after every frame, with several processes after every scene.

    Returns:
        How many scenes had to be rendered; 0 if all were there.

    Raises:
        SceneError: ``output`` holds something else, there is no worker, or one could not render its scene.
    """
    if workers < 1:
        raise SceneError(f"number of workers: {workers}: must be at least 1")
    _claim(output, recipe)
    names = [scene_name(number) for number in range(recipe.num_scenes)]
    missing = [number for number, name in enumerate(names) if not (output / name).is_dir()]
    total = recipe.num_scenes * recipe.frames_per_scene
    done = total - len(missing) * recipe.frames_per_scene
    on_progress("render", done, total)

    def count(frames: int) -> None:
        nonlocal done
        done += frames
        on_progress("render", done, total)

    if min(workers, len(missing)) > 1:
        render = partial(_render_scene, output, recipe)
        with closing(scenes_in_processes(render, missing, workers=workers, name_of=scene_name)) as rendered:
            for _ in rendered:
                count(recipe.frames_per_scene)
    else:
        for number in missing:
            _render_scene(output, recipe, number, partial(count, 1))
    if missing or not (output / SCENE_INDEX_NAME).is_file():
        write_scene_index(output, {name: range(recipe.frames_per_scene) for name in names})
    return len(missing)


def scene_cameras(num_cams: int, image_scale: float, *, number: int, seed: int) -> tuple[Camera, ...]:
    """Return the cameras of the car of one scene; they differ from car to car, not with the images' size."""
    return camera_calibration(num_cams, image_scale, np.random.default_rng([seed, number, 1]))


def visible_boxes(rendered: RenderedFrame, world: World, class_names: Collection[str]) -> tuple[GroundTruthBox, ...]:
    """Return the boxes of the objects that are near (:data:`MAX_BOX_DISTANCE_M`) and seen (:data:`MIN_VISIBLE_PX`).

    They lie in the LiDAR frame; ``num_lidar_pts`` is not known, since no LiDAR is simulated.
    """
    boxes = []
    for actor, pose, shown in zip(world.actors, rendered.poses, rendered.visible_px, strict=True):
        box = box_in_lidar_frame(actor, pose, rendered.ego, rendered.lidar_to_ego)
        near = math.hypot(*box.center_m[:2]) <= MAX_BOX_DISTANCE_M
        if near and shown >= MIN_VISIBLE_PX and actor.category in class_names:
            boxes.append(box)
    return tuple(boxes)


def _render_scene(output: Path, recipe: SceneRecipe, number: int, after_frame: BetweenFrames) -> None:
    world = make_world(
        scene_name(number),
        scene_number=number,
        duration_s=(recipe.frames_per_scene - 1) * FRAME_PERIOD_S,
        seed=recipe.seed,
    )
    cameras = scene_cameras(recipe.num_cams, recipe.image_scale, number=number, seed=recipe.seed)
    renderer = Renderer(world, cameras)
    lidar_to_image = np.stack([camera.lidar_to_image for camera in cameras])
    with atomic_path(output / scene_name(number)) as folder:
        for index in range(recipe.frames_per_scene):
            rendered = renderer.render(index * FRAME_PERIOD_S, index)
            _write(folder, number, index, rendered, lidar_to_image, world, recipe)
            after_frame()


def _write(
    folder: Path,
    number: int,
    index: int,
    rendered: RenderedFrame,
    lidar_to_image: NDArray[np.float64],
    world: World,
    recipe: SceneRecipe,
) -> None:
    time_us = round(index * FRAME_PERIOD_S * 1e6)
    write_frame(
        folder,
        index,
        [padded_with_mean(image, recipe.image_hw, recipe.img_norm) for image in rendered.images],
        lidar_to_image=lidar_to_image,
        can_bus_absolute=can_bus_absolute(rendered.ego),
        img_norm=recipe.img_norm,
        scene_token=world.name,
        sample_token=f"{world.name}-{index:06d}",
        timestamp_us=_FIRST_TIMESTAMP_US + number * _SCENE_SPACING_US + time_us,
        gt_boxes=visible_boxes(rendered, world, recipe.class_names) if recipe.ground_truth else None,
    )


def _claim(output: Path, recipe: SceneRecipe) -> None:
    """Make ``output`` this recipe's folder, or refuse.

    Raises:
        SceneError: it is a file, or holds what this recipe didn't make.
    """
    wanted = {"made_up": True, "version": __version__, **dataclasses.asdict(recipe)}
    plain = json.loads(json.dumps(wanted))
    path = output / RECIPE_NAME
    if output.exists() and not output.is_dir():
        raise SceneError(f"{output}: is a file; name a folder for the scenes")
    if not output.is_dir() or not any(output.iterdir()):
        write_json(path, wanted)
        return
    found = _read_recipe(path)
    if found is None:
        raise SceneError(f"{output}: is not empty and holds no {RECIPE_NAME}; choose another folder or empty this one")
    differing = sorted(key for key in {*found, *plain} if found.get(key) != plain.get(key))
    if differing:
        raise SceneError(
            f"{output}: holds synthetic scenes of another kind ({', '.join(differing)} differ, see {RECIPE_NAME}); "
            "choose another folder or remove this one"
        )


def _read_recipe(path: Path) -> dict[str, Any] | None:
    """Return the recipe that a folder was begun with, or ``None`` where there is none to be read."""
    try:
        content = read_json(path)
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None
