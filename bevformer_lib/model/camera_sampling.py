"""How BEV cells sample the cameras: every cell in every camera, or every cell only in the cameras that see it.

Both give the same sums. ``DenseSampling`` samples all cameras for all cells and weighs the unseen ones with zero,
as the exported graphs of the field do. ``SlotSampling`` gives every cell a fixed number of slots, fills them with
the cameras that see it, and samples all cameras' maps as one atlas; with six cameras and two slots that is a third
of the samples, without any operator whose indices depend on the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from bevformer_lib.model.sampling import sample_and_weigh

SpatialForm: TypeAlias = Literal["dense", "slots"]


class CameraSampling(Protocol):
    """One way of sampling the cameras."""

    def locate(self, reference: Tensor, seen: Tensor) -> Any:
        """Prepare a frame's geometry once for all layers.

        Args:
            reference: (cameras, cells, anchors, 2) shares (u, v) of the padded picture.
            seen: (cameras, cells), 1 where the camera sees the cell, else 0.
        """

    def sample(self, values: list[Tensor], offsets: Tensor, weights: list[Tensor], located: Any) -> Tensor:
        """Sum the samples of all cells.

        Args:
            values: per level (cameras, C, H_l, W_l).
            offsets: (levels, heads, cells, rounds, anchors * 2), in feature pixels, x and y interleaved.
            weights: per level (heads, cells, points) attention weights.
            located: what ``locate`` returned.

        Returns:
            (1, C, cells): the mean over the cameras that see the cell, zero where none does.
        """


@dataclass(frozen=True)
class DenseLocation:
    """All cameras' reference points on the grid of GridSample, (cameras, 1, cells, 1, anchors * 2), and seen shares."""

    grid: Tensor
    seen_share: Tensor


class DenseSampling:
    """Samples every cell in every camera."""

    def locate(self, reference: Tensor, seen: Tensor) -> DenseLocation:
        """See :class:`CameraSampling`."""
        cameras, cells, anchors, _ = reference.shape
        return DenseLocation(
            # x and y of all anchors stay interleaved in one axis, which keeps every tensor at rank five.
            grid=(reference * 2 - 1).reshape(cameras, 1, cells, 1, anchors * 2),
            seen_share=_shares(seen).unsqueeze(1),
        )

    def sample(self, values: list[Tensor], offsets: Tensor, weights: list[Tensor], located: DenseLocation) -> Tensor:
        """See :class:`CameraSampling`."""
        heads, cells, points = weights[0].shape
        attended = []
        for value, offset, weight in zip(values, offsets, weights, strict=True):
            height, width = value.shape[-2:]
            pixels_to_grid = _interleaved(2 / width, 2 / height, points=located.grid.shape[-1] // 2).to(value)
            grid = located.grid + (offset * pixels_to_grid).unsqueeze(0)
            grid = grid.reshape(-1, heads, cells, points, 2)
            attended.append(sample_and_weigh(value, grid, weight.unsqueeze(0)))
        return (_total(attended) * located.seen_share).sum(dim=0, keepdim=True)


@dataclass(frozen=True)
class SlotLocation:
    """The cameras of every cell's slots.

    Attributes:
        reference: (1, cells, slots, 1, anchors * 2) shares (u, v) in the slot's camera.
        camera: (1, cells, slots, 1, 1) index of that camera.
        share: (1, cells, slots, 1): 1 / number of cameras that see the cell; 0 for an empty slot.
    """

    reference: Tensor
    camera: Tensor
    share: Tensor


class SlotSampling:
    """Samples every cell in at most ``slots`` cameras: the first ones that see it.

    A cell seen by more cameras would lose some; :func:`bevformer_lib.geometry.pillars.cameras_per_cell` tells
    how many a rig needs.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots

    def locate(self, reference: Tensor, seen: Tensor) -> SlotLocation:
        """See :class:`CameraSampling`."""
        cameras, cells, anchors, _ = reference.shape
        # How many cameras before this one see the cell; a running sum, since the NPU has no CumSum.
        ranks = [torch.zeros_like(seen[0])]
        for camera in range(1, cameras):
            ranks.append(ranks[-1] + seen[camera - 1])
        rank = torch.stack(ranks).unsqueeze(1)
        slot = torch.arange(self.slots, dtype=seen.dtype, device=seen.device).view(1, -1, 1)
        # 1 where the camera (axis 0) fills the slot (axis 1) of the cell (axis 2).
        chosen = F.relu(1 - (rank - slot).abs()) * seen.unsqueeze(1)
        index = torch.arange(cameras, dtype=seen.dtype, device=seen.device).view(-1, 1, 1)
        by_slot = (chosen.unsqueeze(-1) * reference.reshape(cameras, 1, cells, anchors * 2)).sum(dim=0)
        return SlotLocation(
            reference=by_slot.transpose(0, 1).reshape(1, cells, self.slots, 1, anchors * 2),
            camera=(chosen * index).sum(dim=0).transpose(0, 1).reshape(1, cells, self.slots, 1, 1),
            share=(chosen * _shares(seen).unsqueeze(1)).sum(dim=0).transpose(0, 1).reshape(1, cells, self.slots, 1),
        )

    def sample(self, values: list[Tensor], offsets: Tensor, weights: list[Tensor], located: SlotLocation) -> Tensor:
        """See :class:`CameraSampling`."""
        heads, cells, points = weights[0].shape
        attended = []
        for value, offset, weight in zip(values, offsets, weights, strict=True):
            cameras, channels, height, width = value.shape
            pairs = located.reference.shape[-1] // 2
            # The atlas stacks the cameras top to bottom with an empty row after each. A position is bounded to one
            # pixel outside its camera, where the empty row (or the atlas's edge) gives the zero that padding gives
            # the dense form.
            rows = height + 1
            atlas = F.pad(value, (0, 0, 0, 1)).transpose(0, 1).reshape(1, channels, cameras * rows, width)
            size = _interleaved(width, height, points=pairs).to(value)
            pixel = located.reference * size - 0.5 + offset.unsqueeze(2)
            pixel = torch.minimum(pixel.clamp(min=-1.0), size)
            pixel = pixel + located.camera * _interleaved(0, rows, points=pairs).to(value)
            grid = pixel * _interleaved(2 / width, 2 / (cameras * rows), points=pairs).to(value)
            grid = grid + _interleaved(1 / width - 1, 1 / (cameras * rows) - 1, points=pairs).to(value)
            shared_weight = (weight.unsqueeze(2) * located.share).reshape(1, heads, cells, self.slots * points)
            attended.append(
                sample_and_weigh(atlas, grid.reshape(1, heads, cells, self.slots * points, 2), shared_weight)
            )
        return _total(attended)


def make_sampling(form: SpatialForm, *, slots: int) -> CameraSampling:
    """Return the sampling of that form."""
    return DenseSampling() if form == "dense" else SlotSampling(slots)


def _shares(seen: Tensor) -> Tensor:
    """Return 1 / number of cameras that see the cell where a camera sees it, else 0; shaped like ``seen``."""
    return seen / torch.clamp(seen.sum(dim=0, keepdim=True), min=1.0)


def _interleaved(x: float, y: float, *, points: int) -> Tensor:
    return torch.tensor([x, y] * points, dtype=torch.float32)


def _total(terms: list[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
