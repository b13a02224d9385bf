"""How a model is trained: everything that the result depends on, but for the scenes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrainingSettings:
    """The recipe.

    Attributes:
        seed: of initial weights, order of scenes and augmentation.
        streams: scenes that are followed at the same time on each device, one frame of each per step.
        total_steps: length of the schedule.
        total_seconds: length of the schedule in seconds of training, over all runs, instead of ``total_steps``.
        warmup_steps: steps over which the learning rate rises.
        learning_rate: at its highest.
        final_rate: share of it that is left at the end of the cosine.
        offset_rate: factor of the learning rate of sampling offsets.
        weight_decay: of matrices; vectors are not decayed.
        clip_norm: largest norm of the gradient.
        ema_decay: of the running mean of the weights, which is what is evaluated and kept.
        query_groups: sets of object queries that are trained side by side; the model keeps the first.
        velocity_weight: weight of the velocity among the values of a box.
        heat_map_weight: of the auxiliary class heat map over the BEV.
        bev_box_weight: of the auxiliary boxes at BEV cells.
        segmentation_weight: of the auxiliary classes of image pixels.
        distance_weight: of their auxiliary distances.
        dropped_history: share of frames that are shown as if their scene began there.
        gain: images are multiplied by 1 +- this.
        brightness: this many grey levels are added or taken away at most.
        noise: largest standard deviation of the noise, grey levels.
        cameras_per_query: cameras that a BEV cell can sample; one model with fewer cameras has as many as it has.
        checkpoint_steps: steps between two saved states. All streams begin anew after each, also where training was not
            interrupted, so that a resumed training is the same.
        evaluation_steps: steps between two evaluations.
        bf16: backbone, neck and encoder in bfloat16 (on a GPU).
    """

    seed: int = 0
    streams: int = 24
    total_steps: int = 5000
    total_seconds: float | None = None
    warmup_steps: int = 300
    learning_rate: float = 5e-4
    final_rate: float = 0.0
    offset_rate: float = 0.3
    weight_decay: float = 0.01
    clip_norm: float = 10.0
    ema_decay: float = 0.999
    query_groups: int = 2
    velocity_weight: float = 4.0
    heat_map_weight: float = 0.5
    bev_box_weight: float = 0.1
    segmentation_weight: float = 0.5
    distance_weight: float = 0.1
    dropped_history: float = 0.03
    gain: float = 0.25
    brightness: float = 20.0
    noise: float = 4.0
    cameras_per_query: int = 2
    checkpoint_steps: int = 500
    evaluation_steps: int = 1000
    bf16: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return dataclasses.asdict(self)
