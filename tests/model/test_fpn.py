"""The pyramid's top-down sums against the original's resizing."""

from __future__ import annotations

from typing import Final

import pytest
import torch
from torch.nn import functional as F

from bevformer_lib.config.model_config import NeckConfig
from bevformer_lib.model.fpn import FPN

HALVED: Final = [(24, 40), (23, 38), (12, 19), (5, 1)]


FRACTIONS: Final = [((13, 20), (4, 5)), ((25, 29), (7, 4)), ((82, 123), (2, 3))]
"""Levels that are not neighbours; in the last, whole factors whose reciprocal float32 rounds down."""


def _halves(height: int, width: int) -> tuple[int, int]:
    return (height + 1) // 2, (width + 1) // 2


@pytest.mark.parametrize(
    ("finest", "coarser"),
    [
        *((size, _halves(*size)) for size in HALVED),
        *((size, _halves(*_halves(*size))) for size in HALVED),
        *FRACTIONS,
    ],
)
def test_every_size_gives_what_resizing_gives(finest: tuple[int, int], coarser: tuple[int, int]) -> None:
    torch.manual_seed(0)
    fine, coarse = torch.randn(2, 3, *finest), torch.randn(2, 4, *coarser)
    fpn = FPN(NeckConfig(in_channels=(3, 4), out_channels=5, num_outs=2, relu_before_extra_convs=False))
    lateral_fine, lateral_coarse = fpn.lateral_convs
    summed = lateral_fine(fine) + F.interpolate(lateral_coarse(coarse), size=finest, mode="nearest")
    expected = [fpn.fpn_convs[0](summed), fpn.fpn_convs[1](lateral_coarse(coarse))]
    with torch.no_grad():
        for given, wanted in zip(fpn([fine, coarse]), expected, strict=True):
            assert torch.equal(given, wanted)
