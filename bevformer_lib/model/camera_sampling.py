"""How BEV cells sample the cameras: every cell in every camera, or every cell only in the cameras that see it.

Both give the same sums. ``DenseSampling`` samples all cameras for all cells and weighs the unseen ones with zero,
as the exported graphs of the field do. ``VisibleCameraSampling`` gives every cell a fixed number of slots, fills
them with
the cameras that see it, and samples all cameras' maps as one stacked maps; with six cameras and two slots that is a
third of the samples, without any operator whose indices depend on the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from bevformer_lib.model.sampling import sample_and_weigh

SpatialForm: TypeAlias = Literal["dense", "visible"]


class CameraViews(Protocol):
    """A frame's image features and where the BEV cells lie in them, prepared once for all layers."""

    @property
    def maps(self) -> Sequence[Tensor]:
        """Per level the features, (B, C, H, W), to which every layer applies its value projection."""

    def attend(self, values: Sequence[Tensor], offsets: Tensor, weights: Tensor) -> Tensor:
        """Sum the samples of all cells.

        Args:
            values: the projected ``maps``.
            offsets: (levels, heads, points, cells, 2), x and y in feature pixels.
            weights: (levels, heads, points, cells).

        Returns:
            (1, C, cells): the mean over the cameras that see the cell, zero where none does.
        """


class CameraSampling(Protocol):
    """One way of sampling the cameras."""

    def prepare(self, features: Sequence[Tensor], reference: Tensor, seen: Tensor, *, points: int) -> CameraViews:
        """Prepare a frame.

        Args:
            features: per level (cameras, C, H_l, W_l).
            reference: (cameras, anchors, cells, 2) shares (u, v) of the padded image.
            seen: (cameras, cells), 1 where the camera sees the cell, else 0.
            points: sampling points per head and level; point p belongs to anchor p % anchors.
        """


@dataclass(frozen=True)
class DenseViews:
    """Every cell in every camera.

    Attributes:
        maps: per level (cameras, C, H_l, W_l).
        grid: (cameras, 1, points, cells * 2) reference points in GridSample's units.
        seen_share: (cameras, 1, cells), see :func:`_shares`.
    """

    maps: Sequence[Tensor]
    grid: Tensor
    seen_share: Tensor

    def attend(self, values: Sequence[Tensor], offsets: Tensor, weights: Tensor) -> Tensor:
        """See :class:`CameraViews`."""
        _, heads, points, cells, _ = offsets.shape
        attended = []
        for value, offset, weight in zip(values, offsets, weights, strict=True):
            height, width = value.shape[-2:]
            shift = offset * torch.tensor([2 / width, 2 / height], device=offset.device)
            grid = self.grid + shift.reshape(1, heads, points, cells * 2)
            attended.append(sample_and_weigh(value, grid.reshape(-1, heads, points, cells, 2), weight.unsqueeze(0)))
        return (_total(attended) * self.seen_share).sum(dim=0, keepdim=True)


class DenseSampling:
    """Samples every cell in every camera."""

    def prepare(self, features: Sequence[Tensor], reference: Tensor, seen: Tensor, *, points: int) -> DenseViews:
        """See :class:`CameraSampling`."""
        cameras, anchors, cells, _ = reference.shape
        # x and y of all cells share one axis, which keeps every tensor at rank five.
        grid = _repeated(reference * 2 - 1, points // anchors).reshape(cameras, 1, points, cells * 2)
        return DenseViews(features, grid, _shares(seen).unsqueeze(1))


@dataclass(frozen=True)
class StackedLevel:
    """One feature level of all cameras, stacked top to bottom with an empty row after each.

    Attributes:
        features: (1, C, cameras * (H + 1), W).
        is_filled: (1, 1, cameras * (H + 1), W): 0 in the empty rows, else 1.
        offset_scale: (2,) GridSample's units per feature pixel.
        grid: (1, slots, points, cells * 2) reference points in the slots' cameras, in GridSample's units.
        lower: (1, slots, 1, cells * 2) one pixel beyond the camera's left and upper edges, in the same units.
        upper: one pixel beyond its right and lower edges.
    """

    features: Tensor
    is_filled: Tensor
    offset_scale: Tensor
    grid: Tensor
    lower: Tensor
    upper: Tensor


@dataclass(frozen=True)
class VisibleCameraViews:
    """Every cell in the cameras of its slots.

    Attributes:
        share: (1, slots, 1, cells): 1 / number of cameras that see the cell; 0 for an empty slot.
    """

    levels: Sequence[StackedLevel]
    share: Tensor

    @property
    def maps(self) -> Sequence[Tensor]:
        """See :class:`CameraViews`."""
        return [level.features for level in self.levels]

    def attend(self, values: Sequence[Tensor], offsets: Tensor, weights: Tensor) -> Tensor:
        """See :class:`CameraViews`."""
        _, heads, points, cells, _ = offsets.shape
        slots = self.share.shape[1]
        attended = []
        for level, value, offset, weight in zip(self.levels, values, offsets, weights, strict=True):
            shift = (offset * level.offset_scale).reshape(heads, 1, points, cells * 2)
            # Bounded to one pixel outside its camera, where the empty row (or the stacked maps's edge) gives the
            # zero that padding gives the dense form.
            grid = torch.minimum(torch.maximum(level.grid + shift, level.lower), level.upper)
            shared_weight = weight.reshape(heads, 1, points, cells) * self.share
            attended.append(
                sample_and_weigh(
                    # The projection's bias must not fill the empty rows.
                    value * level.is_filled,
                    grid.reshape(1, heads, slots * points, cells, 2),
                    shared_weight.reshape(1, heads, slots * points, cells),
                )
            )
        return _total(attended)


class VisibleCameraSampling:
    """Samples every cell in at most ``visible`` cameras: the first ones that see it.

    A cell seen by more cameras would lose some; :func:`bevformer_lib.geometry.pillars.cameras_per_query` tells
    how many a camera calibration needs.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots

    def prepare(
        self, features: Sequence[Tensor], reference: Tensor, seen: Tensor, *, points: int
    ) -> VisibleCameraViews:
        """See :class:`CameraSampling`."""
        cameras, anchors, cells, _ = reference.shape
        # How many cameras before this one see the cell; a running sum, since the NPU has no CumSum.
        # Cameras keep an axis: the NPU's converter places no arithmetic on tensors of one.
        ranks = [torch.zeros_like(seen[:1])]
        for camera in range(1, cameras):
            ranks.append(ranks[-1] + seen[camera - 1 : camera])
        rank = torch.cat(ranks).unsqueeze(1)
        slot = torch.arange(self.slots, dtype=seen.dtype, device=seen.device).view(1, -1, 1)
        # 1 where the camera (axis 0) fills the slot (axis 1) of the cell (axis 2).
        chosen = F.relu(1 - (rank - slot).abs()) * seen.unsqueeze(1)
        by_slot = (chosen.reshape(cameras, self.slots, 1, cells, 1) * reference.unsqueeze(1)).sum(dim=0)
        # Upper edge of the slot's camera in the stacked maps, which GridSample counts from -1 to 1.
        top = torch.arange(cameras, dtype=seen.dtype, device=seen.device).view(-1, 1, 1) * (2 / cameras)
        edge = (chosen * top).sum(dim=0).reshape(self.slots, 1, cells, 1)
        # An empty slot lies left of the stacked maps: a sample outside costs no reads of the maps.
        filled = chosen.sum(dim=0).reshape(self.slots, 1, cells, 1)
        corner = torch.cat([filled * 2 - 3, edge - 1], dim=-1)
        share = (chosen * _shares(seen).unsqueeze(1)).sum(dim=0)
        return VisibleCameraViews(
            [_stacked_level(feature, by_slot, corner, rounds=points // anchors) for feature in features],
            share.reshape(1, self.slots, 1, cells),
        )


def make_sampling(form: SpatialForm, *, slots: int) -> CameraSampling:
    """Return the sampling of that form."""
    return DenseSampling() if form == "dense" else VisibleCameraSampling(slots)


def _stacked_level(feature: Tensor, by_slot: Tensor, corner: Tensor, *, rounds: int) -> StackedLevel:
    """Stack a level (cameras, C, H, W) and place the slots' reference points in it.

    Args:
        feature: the level.
        by_slot: (slots, anchors, cells, 2) shares (u, v) of the slot's camera.
        corner: (slots, 1, cells, 2) left upper corner of that camera in the stacked maps, in GridSample's units.
        rounds: how often the anchors are repeated to make the points.
    """
    cameras, channels, height, width = feature.shape
    slots, anchors, cells, _ = by_slot.shape
    rows = cameras * (height + 1)
    pixel = torch.tensor([2 / width, 2 / rows], device=feature.device)
    extent = torch.tensor([2.0, 2 * height / rows], device=feature.device)
    # Put together rather than written into: an assignment would become a ScatterND of computed indices.
    filled = torch.ones(1, cameras, height, width, device=feature.device)
    empty = torch.zeros(1, cameras, 1, width, device=feature.device)
    return StackedLevel(
        features=F.pad(feature, (0, 0, 0, 1)).transpose(0, 1).reshape(1, channels, rows, width),
        is_filled=torch.cat([filled, empty], dim=2).reshape(1, 1, rows, width),
        offset_scale=pixel,
        grid=_repeated(by_slot * extent + corner, rounds).reshape(1, slots, rounds * anchors, cells * 2),
        # The centre of the pixel beyond an edge is half a pixel away from it.
        lower=(corner - pixel / 2).reshape(1, slots, 1, cells * 2),
        upper=(corner + extent + pixel / 2).reshape(1, slots, 1, cells * 2),
    )


def _repeated(by_anchor: Tensor, rounds: int) -> Tensor:
    """Repeat axis 1 as a whole ``rounds`` times; put together, since not every NPU has Tile."""
    return torch.cat([by_anchor] * rounds, dim=1)


def _shares(seen: Tensor) -> Tensor:
    """Return 1 / number of cameras that see the cell where a camera sees it, else 0; shaped like ``seen``."""
    return seen / torch.clamp(seen.sum(dim=0, keepdim=True), min=1.0)


def _total(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
