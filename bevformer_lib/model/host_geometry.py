"""BEVFormer without the geometry: what follows from calibration and ego motion comes in computed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.geometry.host import HostGeometry
from bevformer_lib.model.bevformer import BEVFormer
from bevformer_lib.model.host_camera_sampling import host_views
from bevformer_lib.names import (
    CAN_BUS_SIZE,
    INPUT_CAMERA_ROWS,
    INPUT_CAMERA_WEIGHTS,
    INPUT_CAN_BUS,
    INPUT_HISTORY_GRID,
    INPUT_IMG,
    INPUT_PREV_BEV,
    INPUT_REFERENCE_POINTS,
    INPUT_ROTATION_GRID,
)


class HostGeometryBEVFormer(nn.Module):
    """A BEVFormer's network alone, with its parameters and under its names.

    It puts out the parts of the boxes one by one, since metres, logarithms and sines in one tensor would share one
    quantisation range; :func:`bevformer_lib.geometry.box_outputs.join_boxes` joins them.
    """

    def __init__(self, model: BEVFormer, geometry: HostGeometryConfig) -> None:
        super().__init__()
        self.img_backbone = model.img_backbone
        self.img_neck = model.img_neck
        self.pts_bbox_head = model.pts_bbox_head
        self._input_names = HostGeometry(geometry).input_names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Detect objects in one frame.

        Args:
            inputs: those of :attr:`HostGeometry.input_names`, in that order.

        Returns:
            ``bev_embed`` (cells, 1, C), ``outputs_classes`` (layers, 1, queries, classes), and the parts of
            the boxes, (layers, 1, queries, n) each: those of :class:`bevformer_lib.model.decoder.BoxCode` in its order.
        """
        given = dict(zip(self._input_names, inputs, strict=True))
        head, transformer = self.pts_bbox_head, self.pts_bbox_head.transformer
        features = self.img_neck(self.img_backbone(given[INPUT_IMG].flatten(0, 1)))
        views = host_views(
            transformer.embed(features),
            given[INPUT_REFERENCE_POINTS],
            given[INPUT_CAMERA_WEIGHTS],
            given.get(INPUT_CAMERA_ROWS),
        )
        bev = transformer.encode_aligned(
            views,
            head.bev_embedding.weight.unsqueeze(0),
            head.positional_encoding(),
            given.get(INPUT_CAN_BUS, torch.zeros(1, CAN_BUS_SIZE)),
            given[INPUT_PREV_BEV],
            rotation_grid=given.get(INPUT_ROTATION_GRID),
            history_grid=given[INPUT_HISTORY_GRID],
        )
        classes, boxes = head.decode(bev, head.query_embedding.weight)
        parts = ("reference", "offset", "size", "yaw", "velocity")
        return bev.transpose(0, 1), classes, *(torch.stack([getattr(box, part) for box in boxes]) for part in parts)
