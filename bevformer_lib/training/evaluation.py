"""How good the mean weights are on held-out scenes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bevformer_lib.detections.decode import decode_detections
from bevformer_lib.names import OUTPUT_CLASSES, OUTPUT_COORDS
from bevformer_lib.training.average_precision import FrameBoxes, average_precisions
from bevformer_lib.training.box_code import VELOCITY
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
    """Run whole scenes and return what :func:`average_precisions` does.

    Args:
        model: put into evaluation mode while this runs.
        pool: holds the scenes.
        scenes: their numbers.
        device: that holds the model.
        at_once: scenes that are run side by side.
        with_history: ``False`` feeds zeros for ``prev_bev`` in every frame.
        bf16: as in training.
    """
    detected: list[FrameBoxes] = []
    annotated: list[FrameBoxes] = []
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for first in range(0, len(scenes), at_once):
            _run(model, pool, scenes[first : first + at_once], device, with_history, bf16, detected, annotated)
    model.train(was_training)
    return average_precisions(detected, annotated, model.config.class_names)


def _run(
    model: TrainingModel,
    pool: ScenePool,
    scenes: Sequence[int],
    device: torch.device,
    with_history: bool,
    bf16: bool,
    detected: list[FrameBoxes],
    annotated: list[FrameBoxes],
) -> None:
    config = model.config
    history = torch.zeros(len(scenes), config.num_bev_cells, config.embed_dims, device=device)
    for frame in range(min(pool.read(scene).num_frames for scene in scenes)):
        begins = frame == 0
        places = [FramePlace(scene, frame, begins) for scene in scenes]
        batch = read_batch(pool, places).to(device)
        images = normalized(batch.images, config, augment=None)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            outputs = model(images, batch.can_bus, batch.lidar2img, history, all_groups=False)
        if with_history:
            history = outputs.bev.float()
        logits, coords = outputs.logits[:, 0].float().cpu().numpy(), outputs.coords[:, 0].float().cpu().numpy()
        for index, scene in enumerate(scenes):
            one = {OUTPUT_CLASSES: logits[:, index : index + 1], OUTPUT_COORDS: coords[:, index : index + 1]}
            boxes = decode_detections(one, config.box_coder)
            detected.append(FrameBoxes(boxes.boxes[:, :2], boxes.boxes[:, 7:9], boxes.labels, boxes.scores))
            codes, labels = pool.read(scene).boxes_of(frame)
            annotated.append(FrameBoxes(codes[:, :2], codes[:, VELOCITY], labels, np.ones(len(labels))))
