"""The pillars' projection against the original's formula, and the ranges of the tensors on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from bevformer_lib.geometry.pillars import MIN_DEPTH_M
from bevformer_lib.geometry.surround_cameras import surround_cameras
from bevformer_lib.model.projection import MAX_OUTSIDE_IMAGES, PillarProjection
from tests.support.micro import micro_config

HEIGHT, WIDTH = micro_config().image_hw


def _camera_calibration() -> torch.Tensor:
    return torch.from_numpy(surround_cameras(6, (HEIGHT, WIDTH)).astype(np.float32))[None]


def test_it_is_the_originals_quotient_bounded() -> None:
    projection, camera_calibration = PillarProjection(micro_config()), _camera_calibration()
    reference, seen = projection(camera_calibration)

    points = projection.points.double()
    projected = camera_calibration[0].double() @ points
    depth = projected[:, 2].clamp(min=MIN_DEPTH_M)
    u, v = projected[:, 0] / depth / WIDTH, projected[:, 1] / depth / HEIGHT
    in_front = projected[:, 2] > MIN_DEPTH_M
    inside = in_front & (u > 0) & (u < 1) & (v > 0) & (v < 1)
    cells, anchors = projection.cells, projection.anchors
    assert torch.equal(seen > 0, inside.reshape(6, cells, anchors).any(dim=-1))
    assert 0 < int(seen.sum()) < seen.numel()

    expected = torch.stack([u, v], dim=-1).clamp(-MAX_OUTSIDE_IMAGES, 1 + MAX_OUTSIDE_IMAGES)
    given = reference.permute(0, 2, 1, 3).reshape(6, cells * anchors, 2).double()
    torch.testing.assert_close(given[in_front], expected[in_front], rtol=1e-5, atol=1e-5)
    assert bool((given[~in_front] == -MAX_OUTSIDE_IMAGES).all())


class _LargestValue(TorchFunctionMode):
    """Remembers the largest magnitude that any operation gave."""

    value = 0.0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            self.value = max(self.value, float(result.abs().max()))
        return result


def test_no_tensor_on_the_way_outgrows_16_bits() -> None:
    """In a 16-bit build every tensor has 65536 steps over its range; positions need steps well below a pixel."""
    projection = PillarProjection(micro_config())
    with _LargestValue() as largest:
        projection(_camera_calibration())
    farthest_m = 80.0
    assert largest.value < (1 + MAX_OUTSIDE_IMAGES) * max(HEIGHT, WIDTH) * farthest_m
