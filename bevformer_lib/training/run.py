"""One run of a training: where its scenes come from, where it writes, how long it may take."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from torch.multiprocessing.spawn import spawn

from bevformer_lib.config.image_size import parse_image_size
from bevformer_lib.config.load import load_model_config
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.errors import TrainingError
from bevformer_lib.files import write_json
from bevformer_lib.strict_json import read_json_object
from bevformer_lib.training.loop import TrainingJob, train_on
from bevformer_lib.training.rendering import scenes_from_folder, start_renderers
from bevformer_lib.training.scene_pool import PoolRecipe, ScenePool
from bevformer_lib.training.settings import TrainingSettings

CHECKPOINT_NAME = "checkpoint.pth"
"""The mean weights in float16, written at every evaluation and at the end."""

_POLL_SECONDS = 0.5
_RECIPE_NAME = "recipe.json"
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """What a run reads and writes.

    Attributes:
        config: preset name or original config file.
        output: folder for state, checkpoint and curves.
        image_size: padded image size HxW in pixels, instead of the config's own.
        scenes: folder of annotated scenes to train on, instead of synthetic ones.
        synthetic_seeds: (first, last + 1); every seed is one scene.
        held_out_seeds: the same, of the scenes for the evaluation.
        held_out_scenes: folder of annotated scenes for the evaluation, instead of synthetic ones.
        frames: per synthetic scene.
        pool: folder for the scenes as arrays (2 MB per frame of the demo model), best in shared memory; ``None``: in
            ``output``.
        workers: processes that render beside the training; 0: none.
        least_scenes: training begins when so many are there; ``None``: all.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        gpus: processes that train together, each with ``streams`` streams on a GPU of its own, or all on the CPU.
        resume: carry on from the state in ``output``; without one, begin.
        time_limit_seconds: save the state and end after this time.
        initial_checkpoint: weights to begin with instead of random ones.
        compact_state: save moments and mean weights in 16 bits.
    """

    config: str
    output: Path
    image_size: str | None = None
    scenes: Path | None = None
    synthetic_seeds: tuple[int, int] = (100_000, 100_200)
    held_out_seeds: tuple[int, int] = (900_000, 900_016)
    held_out_scenes: Path | None = None
    frames: int = 16
    pool: Path | None = None
    workers: int = 1
    least_scenes: int | None = None
    device: str = "cpu"
    gpus: int = 1
    resume: bool = False
    time_limit_seconds: float | None = None
    initial_checkpoint: Path | None = None
    compact_state: bool = False


def seed_range(text: str) -> tuple[int, int]:
    """Return what ``A:B`` names: the seeds A to B - 1, as (A, B).

    Raises:
        TrainingError: it is something else.
    """
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise TrainingError(f"seeds {text!r}: give them as A:B with A < B, such as 100000:100200")
    return int(first), int(last)


def train(run: TrainingRun, settings: TrainingSettings) -> None:
    """Train, or carry on training, until the schedule or the time is over.

    Raises:
        TrainingError: ``output`` holds another training, seeds overlap, or the loss has become infinite.
        ConfigError: the model's config can't be read.
        SceneError: scenes can't be read.
        CheckpointError: a checkpoint or saved state doesn't fit.
    """
    started = time.monotonic()
    config = load_model_config(run.config, image_hw=parse_image_size(run.image_size))
    _claim(run, settings, config)
    recipe = PoolRecipe.of(config, run.frames)
    folder = run.pool or run.output / "scenes"
    pools = {name: _pool(folder / name, recipe) for name in ("held_out", "training")}
    renderers: list[BaseProcess] = []
    wanted = {
        "held_out": _fill(pools["held_out"], run.held_out_scenes, run.held_out_seeds, config, run, renderers),
        "training": _fill(pools["training"], run.scenes, run.synthetic_seeds, config, run, renderers),
    }
    try:
        _wait(pools["held_out"], wanted["held_out"], len(wanted["held_out"]), renderers)
        least = len(wanted["training"]) if run.least_scenes is None else run.least_scenes
        _wait(pools["training"], wanted["training"], min(least, len(wanted["training"])), renderers)
        job = TrainingJob(
            config=config,
            settings=settings,
            training_pool=pools["training"].folder,
            held_out_pool=pools["held_out"].folder,
            output=run.output,
            checkpoint=run.output / CHECKPOINT_NAME,
            device=run.device,
            world_size=run.gpus,
            deadline=None if run.time_limit_seconds is None else started + run.time_limit_seconds,
            initial_checkpoint=run.initial_checkpoint,
            compact_state=run.compact_state,
            provenance={
                "held_out_seeds": list(run.held_out_seeds) if run.held_out_scenes is None else None,
                "synthetic_seeds": list(run.synthetic_seeds) if run.scenes is None else None,
                "frames_per_scene": run.frames,
            },
        )
        if run.gpus > 1:
            os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = "127.0.0.1", str(_free_port())
            spawn(train_on, args=(job,), nprocs=run.gpus)  # type: ignore[no-untyped-call]
        else:
            train_on(0, job)
    finally:
        for process in renderers:
            process.terminate()
            process.join()


def _claim(run: TrainingRun, settings: TrainingSettings, config: ModelConfig) -> None:
    """Make ``output`` this training's folder, or refuse.

    Raises:
        TrainingError: see :func:`train`.
    """
    first, last = run.synthetic_seeds
    held_first, held_last = run.held_out_seeds
    if run.scenes is None and run.held_out_scenes is None and first < held_last and held_first < last:
        raise TrainingError(f"seeds {first}:{last} and held-out seeds {held_first}:{held_last} overlap; choose others")
    path = run.output / "training.json"
    if path.exists():
        if not run.resume:
            raise TrainingError(f"{run.output} holds a training already; add --resume, or choose another folder")
        if _read(path).get("config_digest") != config.digest():
            raise TrainingError(f"{run.output} holds the training of another model than {run.config}; choose another")
    described = {key: str(value) if isinstance(value, Path) else value for key, value in vars(run).items()}
    write_json(path, {"config_digest": config.digest(), "settings": settings.to_dict(), "run": described})


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path)
    except ValueError as error:
        raise TrainingError(f"{path}: {error}; choose another folder") from error


def _pool(folder: Path, recipe: PoolRecipe) -> ScenePool:
    """Return a pool whose scenes are made by this recipe, or refuse one of another kind.

    Raises:
        TrainingError: it is of another kind.
    """
    wanted = json.loads(json.dumps(dataclasses.asdict(recipe)))
    path = folder / _RECIPE_NAME
    if path.exists():
        if _read(path) != wanted:
            raise TrainingError(f"{folder} holds scenes for another model (see {_RECIPE_NAME}); choose another pool")
    else:
        write_json(path, wanted)
    return ScenePool(folder)


def _fill(
    pool: ScenePool,
    scenes: Path | None,
    seeds: tuple[int, int],
    config: ModelConfig,
    run: TrainingRun,
    renderers: list[BaseProcess],
) -> list[int]:
    """Have a pool filled and return the numbers of the scenes that will be there."""
    if scenes is not None:
        return scenes_from_folder(scenes, pool, config, PoolRecipe.of(config, run.frames))
    numbers = list(range(*seeds))
    if run.workers:
        renderers += start_renderers(pool, numbers, PoolRecipe.of(config, run.frames), workers=run.workers)
    return numbers


def _wait(pool: ScenePool, numbers: Sequence[int], least: int, renderers: Sequence[BaseProcess]) -> None:
    """Wait until a pool holds ``least`` of the scenes.

    Raises:
        TrainingError: they do not exist and are not to be made.
    """
    while (there := sum(pool.holds(number) for number in numbers)) < max(1, least):
        if not any(process.is_alive() for process in renderers):
            raise TrainingError(f"{pool.folder} holds {there} of {least} scenes and nothing renders more; add workers")
        time.sleep(_POLL_SECONDS)
    _LOGGER.info("%s: %d scenes", pool.folder, there)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
