"""The model as it is trained: many streams at once, more groups of queries, auxiliary heads.

The detector's own modules take one frame; :func:`torch.vmap` maps them over the streams, each with its own history, ego
motion and camera calibration. So there is one implementation of the model, and its exported graph knows no batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.model.bevformer import build_model
from bevformer_lib.training.auxiliary import AuxiliaryHeads
from bevformer_lib.training.settings import TrainingSettings


@dataclass(frozen=True)
class StreamOutputs:
    """What the model makes of one frame of every stream.

    Attributes:
        bev: (streams, cells, C), the next frame's history.
        logits: (layers, groups, streams, queries, classes).
        coords: (layers, groups, streams, queries, 10), centres in metres.
        features: (streams * cameras, C, h, w), the finest image features.
    """

    bev: Tensor
    logits: Tensor
    coords: Tensor
    features: Tensor


class TrainingModel(nn.Module):
    """A BEVFormer with what only its training needs."""

    def __init__(self, config: ModelConfig, settings: TrainingSettings) -> None:
        super().__init__()
        self.config = config
        cameras = min(settings.cameras_per_query, config.num_cams)
        self.detector = build_model(config, spatial="visible", cameras_per_query=cameras)
        self.detector.img_backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Projecting in bfloat16 would move every reference point by pixels.
        projection = self.detector.pts_bbox_head.transformer.encoder.projection
        projection.forward = _without_autocast(projection.forward)  # type: ignore[method-assign,assignment]
        self.other_queries = nn.Parameter(
            torch.randn(settings.query_groups - 1, config.num_query, 2 * config.embed_dims)
        )
        self.auxiliary = AuxiliaryHeads(config)

    def forward(
        self, img: Tensor, can_bus: Tensor, lidar2img: Tensor, prev_bev: Tensor, *, all_groups: bool
    ) -> StreamOutputs:
        """Detect in one frame of every stream.

        Args:
            img: (streams, cameras, 3, H, W) float32, normalised and padded.
            can_bus: (streams, 18), delta form.
            lidar2img: (streams, cameras, 4, 4).
            prev_bev: (streams, cells, C); all zeros for a stream without history.
            all_groups: with the queries that only training has, else with the model's own alone.
        """
        streams = len(img)
        head = self.detector.pts_bbox_head
        images = img.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        features = self.detector.img_neck(self.detector.img_backbone(images))
        own = head.query_embedding.weight.unsqueeze(0)
        groups = torch.cat([own, self.other_queries]) if all_groups else own

        def encode(frame: list[Tensor], motion: Tensor, projection: Tensor, history: Tensor) -> Tensor:
            bev = head.transformer.encode(
                frame,
                head.bev_embedding.weight.unsqueeze(0),
                head.positional_encoding(),
                motion.unsqueeze(0),
                projection.unsqueeze(0),
                history.unsqueeze(1),
            )
            return bev.squeeze(0)

        def detect(bev: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
            logits, coords = head.detect(bev.unsqueeze(0), queries)
            return logits.squeeze(1), coords.squeeze(1)

        by_stream = [level.contiguous().unflatten(0, (streams, self.config.num_cams)) for level in features]
        bev = torch.vmap(encode)(by_stream, can_bus, lidar2img, prev_bev)
        with torch.autocast(img.device.type, enabled=False):
            # Boxes in metres and logits of reference points need more than bfloat16's eight bits.
            in_groups = torch.vmap(torch.vmap(detect, in_dims=(0, None)), in_dims=(None, 0))
            logits, coords = in_groups(bev.float(), groups)
        return StreamOutputs(bev, logits.permute(2, 0, 1, 3, 4), coords.permute(2, 0, 1, 3, 4), features[0])


def _without_autocast(forward: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def in_float32(lidar2img: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(lidar2img.device.type, enabled=False):
            return forward(lidar2img)

    return in_float32
