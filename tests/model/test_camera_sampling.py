"""Slots against the dense form, and the edges between cameras in the stacked maps."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from bevformer_lib.model.camera_sampling import CameraSampling, DenseSampling, VisibleCameraSampling

CAMERAS, CELLS, ANCHORS, HEADS, ROUNDS, CHANNELS = 6, 40, 4, 2, 2, 8
POINTS = ROUNDS * ANCHORS
LEVEL_SIZES = ((7, 9), (4, 5))


@dataclass(frozen=True)
class Problem:
    features: list[Tensor]
    reference: Tensor
    seen: Tensor
    offsets: Tensor
    weights: Tensor

    def solve(self, sampling: CameraSampling, bias: float = 0.0) -> Tensor:
        views = sampling.prepare(self.features, self.reference, self.seen, points=self.weights.shape[2])
        return views.attend([level + bias for level in views.maps], self.offsets, self.weights)


@pytest.fixture
def problem() -> Problem:
    generator = torch.Generator().manual_seed(0)
    seen = torch.zeros(CAMERAS, CELLS)
    for cell in range(CELLS):
        for camera in range(cell % 3):  # cells seen by 0, 1 and 2 cameras
            seen[(cell + 2 * camera) % CAMERAS, cell] = 1
    return Problem(
        features=[torch.randn(CAMERAS, CHANNELS, *size, generator=generator) for size in LEVEL_SIZES],
        reference=torch.rand(CAMERAS, ANCHORS, CELLS, 2, generator=generator) * 3 - 1,
        seen=seen,
        offsets=torch.randn(len(LEVEL_SIZES), HEADS, POINTS, CELLS, 2, generator=generator) * 4,
        weights=torch.rand(len(LEVEL_SIZES), HEADS, POINTS, CELLS, generator=generator),
    )


@pytest.mark.parametrize("cameras", [2, 3, 6])
def test_visible_equals_dense(problem: Problem, cameras: int) -> None:
    dense = problem.solve(DenseSampling())
    assert dense.shape == (1, CHANNELS, CELLS)
    assert dense.abs().amax() > 0.1
    torch.testing.assert_close(problem.solve(VisibleCameraSampling(cameras)), dense, atol=2e-5, rtol=2e-5)


def test_a_bias_of_the_projection_stays_inside_the_cameras(problem: Problem) -> None:
    dense = problem.solve(DenseSampling(), bias=3.0)
    assert not torch.allclose(dense, problem.solve(DenseSampling()), atol=0.1)
    torch.testing.assert_close(problem.solve(VisibleCameraSampling(2), bias=3.0), dense, atol=5e-5, rtol=5e-5)


def test_cells_that_no_camera_sees_get_zero(problem: Problem) -> None:
    unseen = problem.seen.sum(0) == 0
    assert unseen.any()
    for sampling in (DenseSampling(), VisibleCameraSampling(2)):
        assert (problem.solve(sampling)[0][:, unseen] == 0).all()


def test_too_few_slots_lose_a_camera(problem: Problem) -> None:
    dense, one_slot = problem.solve(DenseSampling()), problem.solve(VisibleCameraSampling(1))
    twice_seen, once_seen = problem.seen.sum(0) == 2, problem.seen.sum(0) == 1
    torch.testing.assert_close(one_slot[..., once_seen], dense[..., once_seen], atol=2e-5, rtol=2e-5)
    assert not torch.allclose(one_slot[..., twice_seen], dense[..., twice_seen], atol=1e-2)


@pytest.mark.parametrize("v", [-0.5, -0.02, 0.0, 0.999, 1.02, 1.5])
def test_a_sample_outside_a_camera_never_sees_its_neighbour_in_the_atlas(v: float) -> None:
    """Only camera 1 sees the cell; its neighbours in the stacked maps hold ones, itself zeros."""
    features = [torch.ones(3, 1, 4, 4)]
    features[0][1] = 0
    problem = Problem(
        features=features,
        reference=torch.tensor([0.5, v]).expand(3, 1, 1, 2),
        seen=torch.tensor([[0.0], [1.0], [0.0]]),
        offsets=torch.zeros(1, 1, 1, 1, 2),
        weights=torch.ones(1, 1, 1, 1),
    )
    assert problem.solve(VisibleCameraSampling(2)).abs().item() < 1e-5
