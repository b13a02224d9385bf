"""How BEV cells sample the cameras where the host has computed the reference points and chosen the cameras.

The same sums as those of :mod:`bevformer_lib.model.camera_sampling`. Positions are bounded to one pixel outside the
image before they are placed among the cameras' maps, so that no tensor spans more than the maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bevformer_lib.errors import ExportError
from bevformer_lib.model.sampling import sample_and_weigh


@dataclass(frozen=True)
class HostDenseViews:
    """Every cell in every camera.

    Attributes:
        maps: per level (cameras, C, H, W).
        reference: (cameras, 1, anchors, cells * 2), see :class:`bevformer_lib.geometry.host.HostGeometry`.
        weights: (cameras, 1, cells).
    """

    maps: Sequence[Tensor]
    reference: Tensor
    weights: Tensor

    def attend(self, values: Sequence[Tensor], offsets: Tensor, weights: Tensor) -> Tensor:
        """See :class:`bevformer_lib.model.camera_sampling.CameraViews`."""
        _, heads, points, cells, _ = offsets.shape
        attended = []
        for value, offset, weight in zip(values, offsets, weights, strict=True):
            positions = _positions(self.reference.unsqueeze(1), offset.unsqueeze(0), value.shape[-2:])
            grid = positions.reshape(-1, heads, points, cells, 2)
            attended.append(sample_and_weigh(value, grid, weight.unsqueeze(0)))
        return (torch.stack(attended).sum(dim=0) * self.weights).sum(dim=0, keepdim=True)


@dataclass(frozen=True)
class HostVisibleViews:
    """Every cell in a few cameras.

    Attributes:
        maps: per level the maps of all cameras one above the other, each between two empty rows,
            (1, C, cameras * (H + 2), W).
        filled: per level (1, 1, cameras * (H + 2), W): 0 in the empty rows, else 1.
        cameras: their number.
        reference: (slots, 1, anchors, cells * 2).
        rows: (slots, 1, cells * 2).
        weights: (slots, 1, cells).
    """

    maps: Sequence[Tensor]
    filled: Sequence[Tensor]
    cameras: int
    reference: Tensor
    rows: Tensor
    weights: Tensor

    def attend(self, values: Sequence[Tensor], offsets: Tensor, weights: Tensor) -> Tensor:
        """See :class:`bevformer_lib.model.camera_sampling.CameraViews`."""
        _, heads, points, cells, _ = offsets.shape
        slots = len(self.reference)
        attended = []
        for value, filled, offset, weight in zip(values, self.filled, offsets, weights, strict=True):
            rows, width = value.shape[-2:]
            height = rows // self.cameras - 2
            positions = _positions(self.reference.transpose(0, 1).unsqueeze(2), offset.unsqueeze(1), (height, width))
            # From the camera's own map to that of all cameras.
            scaled = positions.reshape(heads, -1, cells, 2) * torch.tensor([1.0, height / rows], device=offset.device)
            grid = scaled.reshape(heads, slots, points, cells * 2) + self.rows
            shared_weight = weight.reshape(heads, 1, points, cells) * self.weights
            attended.append(
                sample_and_weigh(
                    # The projection's bias must not fill the empty rows.
                    value * filled,
                    grid.reshape(1, heads, slots * points, cells, 2),
                    shared_weight.reshape(1, heads, slots * points, cells),
                )
            )
        return torch.stack(attended).sum(dim=0) if len(attended) > 1 else attended[0]


def host_views(
    features: Sequence[Tensor], reference: Tensor, weights: Tensor, rows: Tensor | None
) -> HostDenseViews | HostVisibleViews:
    """Prepare a frame.

    Args:
        features: per level (cameras, C, H, W).
        reference: (S, 1, anchors, cells * 2).
        weights: (S, 1, cells).
        rows: (S, 1, cells * 2); ``None``: S is all cameras.

    Raises:
        ExportError: a map is more than three times as high as it is wide.
    """
    if rows is None:
        return HostDenseViews(features, reference, weights)
    stacked, filled = [], []
    for feature in features:
        cameras, channels, height, width = feature.shape
        if height > 3 * width:
            raise ExportError(f"feature maps of {height} x {width} are too narrow for the visible cameras' form")
        size = (1, channels, cameras * (height + 2), width)
        stacked.append(F.pad(feature, (0, 0, 1, 1)).transpose(0, 1).reshape(size))
        ones = torch.ones(1, cameras, height, width, device=feature.device)
        filled.append(F.pad(ones, (0, 0, 1, 1)).reshape(1, 1, *size[2:]))
    return HostVisibleViews(stacked, filled, len(features[0]), reference, rows, weights)


def _positions(reference: Tensor, offset: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Return the sampling positions in a camera's map, bounded to a pixel outside it.

    Args:
        reference: (a, b, 1, anchors, cells * 2).
        offset: (c, d, points, cells, 2) in pixels, where one of a and c is 1, and one of b and d.
        size: height and width of the map in pixels.
    """
    height, width = size
    one, two, points, cells, _ = offset.shape
    anchors = reference.shape[-2]
    shift = offset * torch.tensor([2 / width, 2 / height], device=offset.device)
    # Point p belongs to anchor p % anchors.
    shift = shift.reshape(one, two, points // anchors, anchors, cells * 2)
    bound = 1 + 1 / min(height, width)
    return (reference + shift).clamp(-bound, bound)
