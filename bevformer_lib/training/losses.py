"""Losses of the detections, on every decoder layer and every group of queries."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from bevformer_lib.training.box_code import VELOCITY
from bevformer_lib.training.matching import FOCAL_ALPHA, FOCAL_GAMMA

CLASS_WEIGHT: Final = 2.0
BOX_WEIGHT: Final = 0.25


def focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of the sigmoid focal loss (Lin et al., arXiv:1708.02002) over logits and targets of one shape."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = logits.sigmoid()
    missed = probability * (1 - targets) + (1 - probability) * targets
    alpha = FOCAL_ALPHA * targets + (1 - FOCAL_ALPHA) * (1 - targets)
    return (alpha * missed.pow(FOCAL_GAMMA) * cross_entropy).sum()


def detection_losses(
    logits: Tensor, coords: Tensor, labels: Tensor, boxes: Tensor, matched: Tensor, *, velocity_weight: float
) -> tuple[Tensor, Tensor]:
    """Return the class loss and the box loss: per object, summed over layers, averaged over groups.

    Args:
        logits: (layers, groups, streams, queries, classes).
        coords: (layers, groups, streams, queries, 10).
        labels: (streams, most boxes), -1 where there is none.
        boxes: (streams, most boxes, 10).
        matched: (layers, groups, streams, most boxes), see :func:`~bevformer_lib.training.matching.match_queries`.
        velocity_weight: of the two velocities; the other values weigh 1.
    """
    layers, groups, streams, queries, classes = logits.shape
    there = labels >= 0
    objects = there.sum().clamp(min=1) * groups
    # Targets of all queries, flat over query and class; an absent box adds zero to wherever it points.
    place = matched * classes + labels.clamp(min=0)
    targets = torch.zeros(layers, groups, streams, queries * classes, device=logits.device)
    targets.scatter_add_(3, place, there.float().expand(layers, groups, -1, -1))
    class_loss = focal_loss(logits.float().flatten(3), targets) / objects
    index = matched.unsqueeze(-1).expand(-1, -1, -1, -1, coords.shape[-1])
    found = coords.float().gather(3, index)
    weights = torch.ones(coords.shape[-1], device=coords.device)
    weights[VELOCITY] = velocity_weight
    difference = (found - boxes).abs() * weights * there.unsqueeze(-1)
    return CLASS_WEIGHT * class_loss, BOX_WEIGHT * difference.sum() / objects
