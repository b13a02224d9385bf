"""The detection head: learnt queries and positions, the transformer, and the branches for classes and boxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.model.camera_sampling import CameraSampling
from bevformer_lib.model.decoder import BoxCode
from bevformer_lib.model.transformer import PerceptionTransformer

BranchFactory: TypeAlias = Callable[[ModelConfig], nn.Sequential]


class LearnedPositionalEncoding(nn.Module):
    """A vector per row and per column of the BEV; a cell's encoding is its column's and its row's, concatenated."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        features = config.embed_dims // 2
        self.row_embed = nn.Embedding(config.bev_h, features)
        self.col_embed = nn.Embedding(config.bev_w, features)

    def forward(self) -> Tensor:
        """Return the encoding of all cells, (1, cells, C)."""
        rows, columns = self.row_embed.weight, self.col_embed.weight
        shape = (rows.shape[0], columns.shape[0], rows.shape[1])
        encoding = torch.cat([columns.unsqueeze(0).expand(shape), rows.unsqueeze(1).expand(shape)], dim=-1)
        return encoding.reshape(1, shape[0] * shape[1], -1)


class BevFormerHead(nn.Module):
    """From image features to class scores and boxes."""

    def __init__(self, config: ModelConfig, sampling: CameraSampling) -> None:
        super().__init__()
        self.pc_range = config.pc_range
        # Loss weights of the box values: part of every published state dict, unused when detecting.
        self.code_weights = nn.Parameter(torch.ones(config.code_size), requires_grad=False)
        self.positional_encoding = LearnedPositionalEncoding(config)
        self.transformer = PerceptionTransformer(config, sampling)
        self.cls_branches = _branches(config, _class_branch)
        self.reg_branches = _branches(config, _regression_branch)
        self.bev_embedding = nn.Embedding(config.num_bev_cells, config.embed_dims)
        self.query_embedding = nn.Embedding(config.num_query, 2 * config.embed_dims)

    def forward(
        self, features: list[Tensor], can_bus: Tensor, lidar2img: Tensor, prev_bev: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Detect; arguments and results as in :class:`bevformer_lib.model.bevformer.BEVFormer`."""
        bev = self.transformer.encode(
            features,
            self.bev_embedding.weight.unsqueeze(0),
            self.positional_encoding(),
            can_bus,
            lidar2img,
            prev_bev,
        )
        classes, coords = self.detect(bev, self.query_embedding.weight)
        return bev.transpose(0, 1), classes, coords

    def detect(self, bev: Tensor, query_embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Find objects in the BEV (1, cells, C) with queries (queries, 2 C): position, content.

        Returns:
            logits (layers, 1, queries, classes) and boxes (layers, 1, queries, code size), centres in metres.
        """
        classes, boxes = self.decode(bev, query_embedding)
        return classes, torch.stack([self._to_metres(box) for box in boxes])

    def decode(self, bev: Tensor, query_embedding: Tensor) -> tuple[Tensor, list[BoxCode]]:
        """As :meth:`detect`, but per layer the parts of the boxes."""
        states, boxes = self.transformer.decode(bev, query_embedding, self.reg_branches)
        classes = torch.stack([branch(state) for branch, state in zip(self.cls_branches, states, strict=True)])
        return classes, boxes

    def _to_metres(self, box: BoxCode) -> Tensor:
        """Join the parts in the order of the published code: cx, cy, log w, log l, cz, log h, and the rest."""
        x_min, y_min, z_min, x_max, y_max, z_max = self.pc_range
        center = (box.reference + box.offset).sigmoid()
        cx = center[..., 0:1] * (x_max - x_min) + x_min
        cy = center[..., 1:2] * (y_max - y_min) + y_min
        cz = center[..., 2:3] * (z_max - z_min) + z_min
        return torch.cat([cx, cy, box.size[..., 0:2], cz, box.size[..., 2:], box.yaw, box.velocity], dim=-1)


def _branches(config: ModelConfig, make: BranchFactory) -> nn.ModuleList:
    """Return a branch per decoder layer; without box refinement all layers share one, as in the original."""
    if config.with_box_refine:
        return nn.ModuleList(make(config) for _ in range(config.decoder.num_layers))
    shared = make(config)
    return nn.ModuleList(shared for _ in range(config.decoder.num_layers))


def _class_branch(config: ModelConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(config.num_reg_fcs):
        layers += [
            nn.Linear(config.embed_dims, config.embed_dims),
            nn.LayerNorm(config.embed_dims),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, nn.Linear(config.embed_dims, config.num_classes))


def _regression_branch(config: ModelConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(config.num_reg_fcs):
        layers += [nn.Linear(config.embed_dims, config.embed_dims), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(config.embed_dims, config.code_size))
