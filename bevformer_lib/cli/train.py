"""`bevformer train`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from bevformer_lib.cli.options import Count, Device, PositiveFraction, Seconds, Seed, Steps, Workers


def command(
    config: str,
    *,
    output: Path,
    image_size: str | None = None,
    scenes: Path | None = None,
    held_out_scenes: Path | None = None,
    synthetic_seeds: str = "100000:100200",
    held_out_seeds: str = "900000:900016",
    frames: Count = 16,
    steps: Steps = 5000,
    streams: Count = 24,
    learning_rate: PositiveFraction = 5e-4,
    warmup_steps: Steps = 300,
    checkpoint_steps: Steps = 500,
    evaluation_steps: Steps = 1000,
    seed: Seed = 0,
    workers: Workers = 1,
    device: Device = "cpu",
    resume: bool = False,
    initial_checkpoint: Path | None = None,
    time_limit_seconds: Seconds | None = None,
) -> None:
    """Train a model on synthetic scenes, which are rendered first, or on annotated ones.

    State, checkpoint and curves go into the output folder. `python -m bevformer_lib.training` has all settings.

    Args:
        config: preset name or original config file of the model.
        output: folder for the results; one that holds a training is refused without --resume.
        image_size: padded image size HxW in pixels, instead of the config's own.
        scenes: folder of annotated scenes to train on, instead of synthetic ones.
        held_out_scenes: folder of annotated scenes for the evaluation, instead of synthetic ones.
        synthetic_seeds: A:B, seeds A to B - 1; every seed is one scene.
        held_out_seeds: the same, of the scenes for the evaluation.
        frames: frames per synthetic scene, two per second.
        steps: length of the schedule.
        streams: scenes that are followed at the same time; one frame of each makes a step.
        learning_rate: at its highest.
        warmup_steps: steps over which it rises.
        checkpoint_steps: steps between two saved states.
        evaluation_steps: steps between two evaluations on the held-out scenes.
        seed: of initial weights, order and augmentation.
        workers: processes that render.
        device: cpu, cuda or cuda:1.
        resume: carry on with the training in the output folder; without one, begin.
        initial_checkpoint: weights to begin with instead of random ones.
        time_limit_seconds: save the state and end after this time.
    """
    from bevformer_lib.training.run import CHECKPOINT_NAME, TrainingRun, seed_range, train
    from bevformer_lib.training.settings import TrainingSettings

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    run = TrainingRun(
        config=config,
        output=output,
        image_size=image_size,
        scenes=scenes,
        held_out_scenes=held_out_scenes,
        synthetic_seeds=seed_range(synthetic_seeds),
        held_out_seeds=seed_range(held_out_seeds),
        frames=frames,
        workers=workers,
        device=device,
        resume=resume,
        initial_checkpoint=initial_checkpoint,
        time_limit_seconds=time_limit_seconds,
    )
    settings = TrainingSettings(
        seed=seed,
        streams=streams,
        total_steps=steps,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        checkpoint_steps=checkpoint_steps,
        evaluation_steps=evaluation_steps,
    )
    train(run, settings)
    sys.stdout.write(f"{output / CHECKPOINT_NAME}\n")
