"""STAND-IN for the original BEVFormer detector: our arithmetic behind the original's interface and layouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.model.bevformer import build_model
from bevformer_lib.model.decoder import BevDeformableAttention, BoxCode, DecoderLayer, DetectionDecoder
from bevformer_lib.model.layers import SelfAttention

Planted = tuple[str, float]
"""Dotted path of a module and the factor by which its output is wrong."""

_META_KEYS = {"can_bus", "lidar2img", "img_shape", "scene_token"}


def _swapped(tensor: Tensor) -> Tensor:
    return tensor.transpose(0, 1)


class QueriesFirstSelfAttention(SelfAttention):
    def forward(self, query: Tensor, query_pos: Tensor) -> Tensor:
        return _swapped(super().forward(_swapped(query), _swapped(query_pos)))


class QueriesFirstAttention(BevDeformableAttention):
    def forward(self, query: Tensor, query_pos: Tensor, bev_map: Tensor, reference: Tensor) -> Tensor:
        return _swapped(super().forward(_swapped(query), _swapped(query_pos), bev_map, reference))


class QueriesFirstLayer(DecoderLayer):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.attentions = nn.ModuleList(
            [QueriesFirstSelfAttention(config.embed_dims, config.decoder.num_heads), QueriesFirstAttention(config)]
        )


class QueriesFirstDecoder(DetectionDecoder):
    """Its layers take and put out (queries, batch, C), as the original's do."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(QueriesFirstLayer(config) for _ in range(config.decoder.num_layers))

    def forward(
        self, query: Tensor, query_pos: Tensor, bev_map: Tensor, reference_logit: Tensor, reg_branches: nn.ModuleList
    ) -> tuple[list[Tensor], list[BoxCode]]:
        states, boxes = [], []
        query, query_pos = _swapped(query), _swapped(query_pos)
        for layer, branch in zip(self.layers, reg_branches, strict=True):
            query = layer(query, query_pos, bev_map, reference_logit[..., 0:2].sigmoid())
            raw = branch(_swapped(query))
            offset = torch.cat([raw[..., 0:2], raw[..., 4:5]], dim=-1)
            size = torch.cat([raw[..., 2:4], raw[..., 5:6]], dim=-1)
            states.append(_swapped(query))
            boxes.append(BoxCode(reference_logit, offset, size, raw[..., 6:8], raw[..., 8:]))
            reference_logit = reference_logit + offset
        return states, boxes


class StandInDetector(nn.Module):
    """Has the original's entry points; refuses what the original would fail on."""

    def __init__(self, config: ModelConfig, planted: Planted | None) -> None:
        super().__init__()
        ours = build_model(config)
        ours.pts_bbox_head.transformer.decoder = QueriesFirstDecoder(config)
        ours.pts_bbox_head.__class__ = _head_with_dict(type(ours.pts_bbox_head), config)
        self.img_backbone, self.img_neck, self.pts_bbox_head = ours.img_backbone, ours.img_neck, ours.pts_bbox_head
        if planted is not None:
            path, factor = planted
            self.get_submodule(path).register_forward_hook(_wrong_by(factor))

    def extract_feat(self, img: Tensor, img_metas: list[dict[str, Any]]) -> list[Tensor]:
        assert img.dim() == 5 and img.size(0) == 1
        img.squeeze_()
        levels = self.img_neck(self.img_backbone(img))
        return [level[None] for level in levels]


def _head_with_dict(ours: type[nn.Module], config: ModelConfig) -> type[nn.Module]:
    """Return our head's class with the original head's call and result."""

    class StandInHead(ours):  # type: ignore[misc, valid-type]
        def forward(
            self, mlvl_feats: list[Tensor], img_metas: list[dict[str, Any]], prev_bev: Tensor | None = None
        ) -> dict[str, Tensor | None]:
            (meta,) = img_metas
            assert meta.keys() >= _META_KEYS
            assert meta["img_shape"] == [(*config.image_hw, 3)] * config.num_cams
            assert isinstance(meta["can_bus"], np.ndarray) and meta["can_bus"].dtype == np.float64
            if prev_bev is None:
                prev_bev = torch.zeros(config.num_bev_cells, 1, config.embed_dims)
            else:
                assert bool(prev_bev.any())
            bev, classes, coords = super().forward(
                [feature[0] for feature in mlvl_feats],
                torch.tensor(meta["can_bus"], dtype=torch.float32)[None],
                torch.tensor(np.asarray(meta["lidar2img"]), dtype=torch.float32)[None],
                prev_bev,
            )
            return {
                "bev_embed": bev,
                "all_cls_scores": classes,
                "all_bbox_preds": coords,
                "enc_cls_scores": None,
                "enc_bbox_preds": None,
            }

    return StandInHead


def _wrong_by(factor: float) -> Callable[[nn.Module, Any, Any], Any]:
    def distort(module: nn.Module, inputs: Any, output: Any) -> Any:
        return [level * factor for level in output] if isinstance(output, list) else output * factor

    return distort


def register(config: ModelConfig, planted: Planted | None = None) -> None:
    """Register the detector under the original's name, as importing the original's plugin does."""
    from mmdet3d.models import DETECTORS

    @DETECTORS.register_module()
    class BEVFormer(StandInDetector):
        def __init__(self, **arguments: Any) -> None:
            assert arguments["pretrained"] is None and arguments["train_cfg"] is None
            super().__init__(config, planted)
