"""How good the mean weights are on held-out scenes, by the metrics of ``bevformer score``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bevformer_lib.detections.decode import decode_detections, denormalized_boxes
from bevformer_lib.detections.types import Detections
from bevformer_lib.metrics.constants import CLASS_NAMES
from bevformer_lib.metrics.detection_metrics import score_frames
from bevformer_lib.metrics.eval_boxes import ScoredFrame, detections_as_ground_truth
from bevformer_lib.metrics.metric_types import ANNOTATIONS
from bevformer_lib.metrics.moving_objects import moving_velocity_error_mps
from bevformer_lib.names import OUTPUT_CLASSES, OUTPUT_COORDS
from bevformer_lib.scenes.types import Frame, GroundTruthBox
from bevformer_lib.training.images import normalized
from bevformer_lib.training.scene_pool import ScenePool
from bevformer_lib.training.streams import FramePlace, read_batch
from bevformer_lib.training.training_model import TrainingModel


def evaluate(
    model: TrainingModel,
    pool: ScenePool,
    scenes: Sequence[int],
    *,
    device: torch.device,
    at_once: int = 16,
    with_history: bool = True,
    bf16: bool = False,
) -> dict[str, Any]:
    """Run whole scenes and return ``map``, ``nds``, ``errors``, ``ap`` by class and ``moving_velocity_error_mps``.

    A pool keeps no attributes, so that those of its objects are guessed from their speed, as those of detections are.
    Where nuScenes' metric does not know a class of the model, all values are ``None``.

    Args:
        model: put into evaluation mode while this runs.
        pool: holds the scenes.
        scenes: their numbers.
        device: that holds the model.
        at_once: scenes that are run side by side.
        with_history: ``False`` feeds zeros for ``prev_bev`` in every frame.
        bf16: as in training.
    """
    names = model.config.class_names
    if not set(names) <= set(CLASS_NAMES):
        return dict.fromkeys(("map", "nds", "errors", "ap", "moving_velocity_error_mps"))
    frames: list[ScoredFrame] = []
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for first in range(0, len(scenes), at_once):
            frames += _run(model, pool, scenes[first : first + at_once], device, with_history=with_history, bf16=bf16)
    model.train(was_training)
    metrics = score_frames(frames, names, truth=ANNOTATIONS)
    return {
        "map": metrics.mean_ap,
        "nds": metrics.nds,
        "errors": vars(metrics.errors),
        "ap": {name: one.ap for name, one in metrics.classes.items() if one.ground_truth},
        "moving_velocity_error_mps": moving_velocity_error_mps(frames, names),
    }


def _run(
    model: TrainingModel,
    pool: ScenePool,
    scenes: Sequence[int],
    device: torch.device,
    *,
    with_history: bool,
    bf16: bool,
) -> list[ScoredFrame]:
    config = model.config
    history = torch.zeros(len(scenes), config.num_bev_cells, config.embed_dims, device=device)
    scored = []
    for frame in range(min(pool.read(scene).num_frames for scene in scenes)):
        places = [FramePlace(scene, frame, begins=frame == 0) for scene in scenes]
        batch = read_batch(pool, places).to(device)
        images = normalized(batch.images, config, augment=None)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            outputs = model(images, batch.can_bus, batch.lidar2img, history, all_groups=False)
        if with_history:
            history = outputs.bev.float()
        logits, coords = outputs.logits[:, 0].float().cpu().numpy(), outputs.coords[:, 0].float().cpu().numpy()
        for index, scene in enumerate(scenes):
            one = {OUTPUT_CLASSES: logits[:, index : index + 1], OUTPUT_COORDS: coords[:, index : index + 1]}
            truth = _ground_truth(*pool.read(scene).boxes_of(frame), config.class_names)
            where = Frame(frame, (), np.zeros((0, 4, 4)), np.zeros(0), truth, Path(str(scene)))
            scored.append(ScoredFrame(str(scene), where, decode_detections(one, config.box_coder), truth))
    return scored


def _ground_truth(
    codes: NDArray[np.float32], labels: NDArray[np.int64], class_names: Sequence[str]
) -> tuple[GroundTruthBox, ...]:
    boxes = denormalized_boxes(codes)
    boxes[:, 2] -= boxes[:, 5] / 2
    exact = Detections(boxes, np.ones(len(labels), dtype=np.float32), labels)
    return detections_as_ground_truth(exact, class_names, score_threshold=0.0)
