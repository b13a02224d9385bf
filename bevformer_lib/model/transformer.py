"""The perception transformer: from image features and the history to the BEV, and from the BEV to object states."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.model.camera_sampling import CameraSampling, CameraViews
from bevformer_lib.model.decoder import BoxCode, DetectionDecoder
from bevformer_lib.model.ego_motion import BevRotation, BevShift, has_history
from bevformer_lib.model.encoder import BevEncoder, bev_reference_points
from bevformer_lib.model.temporal_attention import History
from bevformer_lib.names import CAN_BUS_SIZE


class PerceptionTransformer(nn.Module):
    """Encoder and decoder with what joins them to cameras, ego motion and history."""

    bev_reference: Tensor

    def __init__(self, config: ModelConfig, sampling: CameraSampling) -> None:
        super().__init__()
        self.bev_h, self.bev_w = config.bev_h, config.bev_w
        self.use_can_bus = config.use_can_bus
        self.use_cams_embeds = config.use_cams_embeds
        self.encoder = BevEncoder(config, sampling)
        self.decoder = DetectionDecoder(config)
        self.level_embeds = nn.Parameter(torch.zeros(config.num_feature_levels, config.embed_dims))
        self.cams_embeds = nn.Parameter(torch.zeros(config.num_cams, config.embed_dims))
        self.reference_points = nn.Linear(config.embed_dims, 3)
        self.can_bus_mlp = _can_bus_mlp(config)
        self.shift = BevShift(config)
        self.rotation = BevRotation(config)
        self.register_buffer("bev_reference", bev_reference_points(config).unsqueeze(0), persistent=False)

    def encode(
        self,
        features: list[Tensor],
        bev_query: Tensor,
        bev_pos: Tensor,
        can_bus: Tensor,
        lidar2img: Tensor,
        prev_bev: Tensor,
    ) -> Tensor:
        """Compute the BEV.

        Args:
            features: per level (cameras, C, H_l, W_l).
            bev_query: (1, cells, C) learnt queries.
            bev_pos: (1, cells, C) positional encoding.
            can_bus: (1, 18), delta form.
            lidar2img: (1, cameras, 4, 4).
            prev_bev: (cells, 1, C); all zeros when there is no history.

        Returns:
            (1, cells, C).
        """
        exists = has_history(prev_bev)
        shift = torch.where(exists, self.shift(can_bus).unsqueeze(1), 0.0)
        return self.encode_aligned(
            self.encoder.views(self.embed(features), lidar2img),
            bev_query,
            bev_pos,
            can_bus,
            prev_bev,
            rotation_grid=self.rotation.grid(can_bus),
            history_grid=(self.bev_reference + shift) * 2 - 1,
        )

    def encode_aligned(
        self,
        views: CameraViews,
        bev_query: Tensor,
        bev_pos: Tensor,
        can_bus: Tensor,
        prev_bev: Tensor,
        *,
        rotation_grid: Tensor | None,
        history_grid: Tensor,
    ) -> Tensor:
        """Compute the BEV where it is known how cameras and history lie to it; else as :meth:`encode`.

        Args:
            views: the embedded image features and where the cells lie in them.
            bev_query: (1, cells, C).
            bev_pos: (1, cells, C).
            can_bus: (1, 18), delta form.
            prev_bev: (cells, 1, C).
            rotation_grid: (1, bev_h, bev_w, 2) see :meth:`BevRotation.grid`.
            history_grid: (1, cells, 2) the current cells' centres in the rotated history, in GridSample's units.
        """
        if self.use_can_bus:
            bev_query = bev_query + self.can_bus_mlp(can_bus).unsqueeze(1)
        history = History(
            exists=has_history(prev_bev),
            bev=self.rotation(prev_bev, rotation_grid),
            initial_query=bev_query,
            grid=torch.cat([history_grid, self.bev_reference * 2 - 1], dim=0).unsqueeze(1).unsqueeze(1),
        )
        bev: Tensor = self.encoder(bev_query, bev_pos, history, views)
        return bev

    def decode(
        self, bev: Tensor, query_embedding: Tensor, reg_branches: nn.ModuleList
    ) -> tuple[list[Tensor], list[BoxCode]]:
        """Decode objects from the BEV (1, cells, C); ``query_embedding`` is (queries, 2 C): position, content.

        Returns:
            see :meth:`DetectionDecoder.forward`.
        """
        query_pos, query = query_embedding.unsqueeze(0).chunk(2, dim=-1)
        bev_map = bev.transpose(1, 2).reshape(1, -1, self.bev_h, self.bev_w)
        states: tuple[list[Tensor], list[BoxCode]] = self.decoder(
            query, query_pos, bev_map, self.reference_points(query_pos), reg_branches
        )
        return states

    def embed(self, features: list[Tensor]) -> list[Tensor]:
        """Add the cameras' and the level's embedding to image features, per level (cameras, C, H, W)."""
        return [self._embed(feature, level) for level, feature in enumerate(features)]

    def _embed(self, feature: Tensor, level: int) -> Tensor:
        embedding = self.level_embeds[level].unsqueeze(0)
        if self.use_cams_embeds:
            embedding = embedding + self.cams_embeds
        return feature + embedding[:, :, None, None]


def _can_bus_mlp(config: ModelConfig) -> nn.Sequential:
    hidden = config.embed_dims // 2
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        [
            ("0", nn.Linear(CAN_BUS_SIZE, hidden)),
            ("1", nn.ReLU(inplace=True)),
            ("2", nn.Linear(hidden, config.embed_dims)),
            ("3", nn.ReLU(inplace=True)),
        ]
    )
    if config.can_bus_norm:
        layers["norm"] = nn.LayerNorm(config.embed_dims)
    return nn.Sequential(layers)
