"""The learning rate over the training: a linear rise, then a cosine."""

from __future__ import annotations

import math

from bevformer_lib.training.settings import TrainingSettings


def progress(settings: TrainingSettings, *, step: int, seconds: float) -> float:
    """Return the part of the schedule that is done, 0..1, by seconds where these are set, else by steps."""
    if settings.total_seconds is not None:
        return min(1.0, seconds / settings.total_seconds)
    return min(1.0, step / settings.total_steps)


def learning_rate(settings: TrainingSettings, *, step: int, done: float) -> float:
    """Return the learning rate of a step."""
    rise = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    cosine = (1 + math.cos(math.pi * done)) / 2
    return settings.learning_rate * rise * (settings.final_rate + (1 - settings.final_rate) * cosine)
