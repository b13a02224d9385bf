"""Slots against the dense form, and the edges between cameras in the atlas."""

from __future__ import annotations

import pytest
import torch

from bevformer_lib.model.camera_sampling import DenseSampling, SlotSampling

CAMERAS, CELLS, ANCHORS, HEADS, ROUNDS, CHANNELS = 6, 40, 4, 2, 2, 8
LEVEL_SIZES = ((7, 9), (4, 5))


@pytest.fixture
def problem() -> dict[str, object]:
    generator = torch.Generator().manual_seed(0)
    seen = torch.zeros(CAMERAS, CELLS)
    for cell in range(CELLS):
        for camera in range(cell % 3):  # cells seen by 0, 1 and 2 cameras
            seen[(cell + 2 * camera) % CAMERAS, cell] = 1
    points = ROUNDS * ANCHORS
    return {
        "reference": torch.rand(CAMERAS, CELLS, ANCHORS, 2, generator=generator) * 3 - 1,
        "seen": seen,
        "values": [torch.randn(CAMERAS, CHANNELS, *size, generator=generator) for size in LEVEL_SIZES],
        "offsets": torch.randn(len(LEVEL_SIZES), HEADS, CELLS, ROUNDS, ANCHORS * 2, generator=generator) * 4,
        "weights": list(torch.rand(len(LEVEL_SIZES), HEADS, CELLS, points, generator=generator)),
    }


def sample(sampling: DenseSampling | SlotSampling, problem: dict[str, object]) -> torch.Tensor:
    located = sampling.locate(problem["reference"], problem["seen"])
    return sampling.sample(problem["values"], problem["offsets"], problem["weights"], located)


@pytest.mark.parametrize("slots", [2, 3, 6])
def test_slots_equal_dense(problem: dict[str, object], slots: int) -> None:
    dense = sample(DenseSampling(), problem)
    assert dense.shape == (1, CHANNELS, CELLS)
    assert dense.abs().amax() > 0.1
    torch.testing.assert_close(sample(SlotSampling(slots), problem), dense, atol=1e-5, rtol=1e-5)


def test_cells_that_no_camera_sees_get_zero(problem: dict[str, object]) -> None:
    unseen = problem["seen"].sum(0) == 0
    assert unseen.any()
    for sampling in (DenseSampling(), SlotSampling(2)):
        assert (sample(sampling, problem)[0][:, unseen] == 0).all()


def test_too_few_slots_lose_a_camera(problem: dict[str, object]) -> None:
    dense, one_slot = sample(DenseSampling(), problem), sample(SlotSampling(1), problem)
    twice_seen = problem["seen"].sum(0) == 2
    once_seen = problem["seen"].sum(0) == 1
    torch.testing.assert_close(one_slot[..., once_seen], dense[..., once_seen], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(one_slot[..., twice_seen], dense[..., twice_seen], atol=1e-2)


@pytest.mark.parametrize("v", [-0.5, -0.02, 0.0, 0.999, 1.02, 1.5])
def test_a_sample_outside_a_camera_never_sees_its_neighbour_in_the_atlas(v: float) -> None:
    """Only camera 1 sees the cell; its neighbours in the atlas hold ones, itself zeros."""
    values = [torch.ones(3, 1, 4, 4)]
    values[0][1] = 0
    reference = torch.tensor([0.5, v]).expand(3, 1, 1, 2)
    seen = torch.tensor([[0.0], [1.0], [0.0]])
    sampling = SlotSampling(2)
    out = sampling.sample(values, torch.zeros(1, 1, 1, 1, 2), [torch.ones(1, 1, 1)], sampling.locate(reference, seen))
    assert out.abs().item() < 1e-5
