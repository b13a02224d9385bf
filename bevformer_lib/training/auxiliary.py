"""Heads that exist in training only: what lies at BEV cells, and what image pixels show and how far it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.training.box_code import CODE_SIZE
from bevformer_lib.training.scene_pool import UNKNOWN_CLASS

_CENTER_SPREAD_CELLS = 0.8
_BACKGROUND_WEIGHT = 0.3
_FIRST_LOGIT = -4.0


@dataclass(frozen=True)
class AuxiliaryLosses:
    """See :class:`~bevformer_lib.training.settings.TrainingSettings` for their weights."""

    heat_map: Tensor
    bev_box: Tensor
    segmentation: Tensor
    distance: Tensor


class AuxiliaryHeads(nn.Module):
    """Two small convolutional heads, one on the BEV, one on the finest image features."""

    columns: Tensor
    rows: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dims = config.embed_dims
        self.config = config
        last = nn.Conv2d(dims, config.num_classes + CODE_SIZE, 1)
        self.bev = nn.Sequential(nn.Conv2d(dims, dims, 3, padding=1), nn.ReLU(inplace=True), last)
        self.image = nn.Sequential(
            nn.Conv2d(dims, dims // 2, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(dims // 2, config.num_classes + 2, 1),
        )
        x_min, y_min, _, x_max, y_max, _ = config.pc_range
        self.cell_m = ((x_max - x_min) / config.bev_w, (y_max - y_min) / config.bev_h)
        columns = x_min + (torch.arange(config.bev_w) + 0.5) * self.cell_m[0]
        rows = y_min + (torch.arange(config.bev_h) + 0.5) * self.cell_m[1]
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("rows", rows, persistent=False)
        assert last.bias is not None  # noqa: S101
        nn.init.constant_(last.bias, 0.0)
        with torch.no_grad():
            last.bias[: config.num_classes] = _FIRST_LOGIT

    def forward(
        self, bev: Tensor, features: Tensor, boxes: Tensor, labels: Tensor, class_map: Tensor, log_distance: Tensor
    ) -> AuxiliaryLosses:
        """Return the losses.

        Args:
            bev: (streams, cells, C).
            features: (streams * cameras, C, h, w), the finest level.
            boxes: (streams, most boxes, 10).
            labels: (streams, most boxes), -1 where there is none.
            class_map: (streams, cameras, h, w) uint8.
            log_distance: like it.
        """
        bev_map = bev.transpose(1, 2).reshape(len(bev), -1, self.config.bev_h, self.config.bev_w)
        heat, codes = self.bev(bev_map).float().split([self.config.num_classes, CODE_SIZE], dim=1)
        objects = (labels >= 0).sum().clamp(min=1)
        heat_loss = _center_focal_loss(heat, self._heat_map(boxes, labels)) / objects
        image = self.image(features).float()
        return AuxiliaryLosses(
            heat_map=heat_loss,
            bev_box=self._box_loss(codes, boxes, labels) / objects,
            segmentation=self._segmentation_loss(image[:, :-1], class_map.flatten(0, 1)),
            distance=_distance_loss(image[:, -1], log_distance.flatten(0, 1), class_map.flatten(0, 1)),
        )

    def _heat_map(self, boxes: Tensor, labels: Tensor) -> Tensor:
        """Return (streams, classes, bev_h, bev_w): 1 at the cell of an object's centre, falling off around it."""
        column, row = self._cells(boxes)
        columns = torch.arange(self.config.bev_w, device=boxes.device)
        rows = torch.arange(self.config.bev_h, device=boxes.device)
        across = torch.exp(-((columns - column.unsqueeze(-1)) ** 2) / (2 * _CENTER_SPREAD_CELLS**2))
        along = torch.exp(-((rows - row.unsqueeze(-1)) ** 2) / (2 * _CENTER_SPREAD_CELLS**2))
        near = (along.unsqueeze(-1) * across.unsqueeze(-2)).flatten(2) * (labels >= 0).unsqueeze(-1)
        index = labels.clamp(min=0).unsqueeze(-1).expand_as(near)
        heat = torch.zeros(len(boxes), self.config.num_classes, near.shape[-1], device=boxes.device)
        heat = heat.scatter_reduce(1, index, near, "amax")
        return heat.reshape(*heat.shape[:2], self.config.bev_h, self.config.bev_w)

    def _box_loss(self, codes: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Return the summed L1 of the boxes at their centres' cells, with the centre from the cell's, m."""
        column, row = self._cells(boxes)
        index = (row * self.config.bev_w + column).unsqueeze(1).expand(-1, CODE_SIZE, -1)
        found = codes.flatten(2).gather(2, index).transpose(1, 2)
        zeros = torch.zeros_like(boxes[..., 2:])
        wanted = boxes - torch.cat([self.columns[column].unsqueeze(-1), self.rows[row].unsqueeze(-1), zeros], dim=-1)
        return ((found - wanted).abs() * (labels >= 0).unsqueeze(-1)).sum()

    def _segmentation_loss(self, logits: Tensor, classes: Tensor) -> Tensor:
        weight = torch.ones(self.config.num_classes + 1, device=logits.device)
        weight[-1] = _BACKGROUND_WEIGHT
        targets = classes.long()
        known = targets != UNKNOWN_CLASS
        each = F.cross_entropy(logits, torch.where(known, targets, 0), weight=weight, reduction="none")
        return (each * known).sum() / known.sum().clamp(min=1)

    def _cells(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return column and row of the cell of every centre."""
        x_min, y_min = self.config.pc_range[:2]
        column = ((boxes[..., 0] - x_min) / self.cell_m[0]).long().clamp(0, self.config.bev_w - 1)
        row = ((boxes[..., 1] - y_min) / self.cell_m[1]).long().clamp(0, self.config.bev_h - 1)
        return column, row


def _center_focal_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """Return the summed focal loss of CenterNet (Zhou et al., arXiv:1904.07850, eq. 1)."""
    log_hit, log_miss = F.logsigmoid(logits), F.logsigmoid(-logits)
    probability = logits.sigmoid()
    hit = -((1 - probability) ** 2) * log_hit
    miss = -((1 - heat) ** 4) * probability**2 * log_miss
    return torch.where(heat >= 1.0, hit, miss).sum()


def _distance_loss(predicted: Tensor, log_distance: Tensor, classes: Tensor) -> Tensor:
    wanted = log_distance.float()
    there = (wanted > 0) & (classes != UNKNOWN_CLASS)
    return ((predicted - wanted).abs() * there).sum() / there.sum().clamp(min=1)
