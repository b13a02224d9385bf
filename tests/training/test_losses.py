from __future__ import annotations

import math

import pytest
import torch

from bevformer_lib.training.losses import detection_losses, focal_loss


def test_focal_loss_of_a_hit_and_a_miss() -> None:
    logits = torch.tensor([0.0, math.log(3.0)])  # probabilities 1/2 and 3/4

    loss = focal_loss(logits, torch.tensor([1.0, 0.0]))

    expected = 0.25 * 0.25 * math.log(2) + 0.75 * 0.75**2 * -math.log(0.25)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_detection_losses_by_hand() -> None:
    """One object, matched with query 1 of two; a stream without objects adds its focal loss alone."""
    logits = torch.zeros(1, 1, 2, 2, 1)
    coords = torch.zeros(1, 1, 2, 2, 10)
    labels = torch.tensor([[0], [-1]])
    boxes = torch.ones(2, 1, 10)
    matched = torch.tensor([[[[1], [0]]]])

    class_loss, box_loss = detection_losses(logits, coords, labels, boxes, matched, velocity_weight=0.5)

    hit, miss = 0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2)
    assert class_loss.item() == pytest.approx(2.0 * (hit + 3 * miss), rel=1e-6)
    assert box_loss.item() == pytest.approx(0.25 * (8 + 2 * 0.5), rel=1e-6)


def test_losses_are_means_over_groups_and_sums_over_layers() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 1, 2, 4, 3, generator=generator)
    coords = torch.randn(1, 1, 2, 4, 10, generator=generator)
    labels, boxes = torch.tensor([[0, 2], [1, -1]]), torch.randn(2, 2, 10, generator=generator)
    matched = torch.tensor([[[[1, 3], [2, 0]]]])

    once = detection_losses(logits, coords, labels, boxes, matched, velocity_weight=1.0)
    often = detection_losses(
        logits.expand(3, 2, -1, -1, -1),
        coords.expand(3, 2, -1, -1, -1),
        labels,
        boxes,
        matched.expand(3, 2, -1, -1),
        velocity_weight=1.0,
    )

    for one, many in zip(once, often, strict=True):
        assert many.item() == pytest.approx(3 * one.item(), rel=1e-5)
