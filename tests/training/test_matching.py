from __future__ import annotations

from itertools import permutations

import numpy as np
import torch

from bevformer_lib.training.matching import match_queries, matching_costs


def test_every_object_gets_the_query_that_brute_force_finds() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, 4, generator=generator)
    coords = torch.randn(2, 3, 5, 10, generator=generator) * 3
    boxes = torch.randn(3, 3, 10, generator=generator) * 3
    labels = torch.tensor([[1, 0, 3], [2, -1, -1], [-1, -1, -1]])

    matched = match_queries(logits, coords, labels, boxes, labels.numpy() >= 0)
    costs = matching_costs(logits, coords, labels, boxes)

    for number, stream in np.ndindex(2, 3):
        count = int((labels[stream] >= 0).sum())
        best = min(
            permutations(range(5), count),
            key=lambda queries: sum(float(costs[number, stream, i, q]) for i, q in enumerate(queries)),
        )
        assert matched[number, stream, :count].tolist() == list(best)
        assert matched[number, stream, count:].tolist() == [0] * (3 - count)


def test_the_cost_is_what_is_computed_by_hand() -> None:
    logits = torch.zeros(1, 1, 1, 2)
    coords = torch.zeros(1, 1, 1, 10)
    boxes = torch.ones(1, 1, 10)

    cost = matching_costs(logits, coords, torch.tensor([[1]]), boxes)

    # At p = 1/2: alpha (1 - p)^2 (-log p) - (1 - alpha) p^2 (-log(1 - p)), and eight of ten values are off by 1.
    expected = 2.0 * (0.25 - 0.75) * 0.25 * np.log(2) + 0.25 * 8
    np.testing.assert_allclose(cost.item(), expected, rtol=1e-6)


def test_a_query_that_diverged_is_taken_last() -> None:
    coords = torch.zeros(1, 1, 2, 10)
    coords[0, 0, 0] = torch.nan

    matched = match_queries(
        torch.zeros(1, 1, 2, 1), coords, torch.tensor([[0]]), torch.zeros(1, 1, 10), np.array([[True]])
    )

    assert matched.tolist() == [[[1]]]
