"""BEVFormer as one static function of a frame and its history."""

from __future__ import annotations

from torch import Tensor, nn

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.model.camera_sampling import CameraSampling, SpatialForm, make_sampling
from bevformer_lib.model.fpn import FPN
from bevformer_lib.model.head import BevFormerHead
from bevformer_lib.model.resnet import ResNet


class BEVFormer(nn.Module):
    """The whole detector (Li et al., arXiv:2203.17270); parameter names equal the original's."""

    def __init__(self, config: ModelConfig, sampling: CameraSampling) -> None:
        super().__init__()
        self.config = config
        self.img_backbone = ResNet(config.backbone)
        self.img_neck = FPN(config.neck)
        self.pts_bbox_head = BevFormerHead(config, sampling)

    def use_sampling(self, sampling: CameraSampling) -> None:
        """Sample the cameras in another way from now on; no parameter depends on it."""
        self.pts_bbox_head.transformer.encoder.sampling = sampling

    def forward(
        self, img: Tensor, can_bus: Tensor, lidar2img: Tensor, prev_bev: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Detect objects in one frame.

        Args:
            img: (1, cameras, 3, H, W) float32, normalised and padded.
            can_bus: (1, 18) float32, delta form.
            lidar2img: (1, cameras, 4, 4) float32; LiDAR frame (m) to homogeneous pixels of ``img``.
            prev_bev: (bev_h * bev_w, 1, C) float32: the previous frame's ``bev_embed``, or all zeros on a scene's
                first frame.

        Returns:
            ``bev_embed`` (bev_h * bev_w, 1, C); ``outputs_classes`` (decoder layers, 1, queries, classes), logits;
            ``outputs_coords`` (decoder layers, 1, queries, 10): cx, cy, log w, log l, cz, log h, sin, cos, vx, vy,
            with the centre in metres in the LiDAR frame.
        """
        features = self.img_neck(self.img_backbone(img.flatten(0, 1)))
        outputs: tuple[Tensor, Tensor, Tensor] = self.pts_bbox_head(features, can_bus, lidar2img, prev_bev)
        return outputs


def build_model(config: ModelConfig, *, spatial: SpatialForm = "dense", cameras_per_query: int = 2) -> BEVFormer:
    """Return the model of a configuration, in evaluation mode, with torch's default initial weights.

    Args:
        config: what the model is.
        spatial: how cells sample the cameras, see :mod:`bevformer_lib.model.camera_sampling`.
        cameras_per_query: slots of the ``visible`` form.
    """
    model = BEVFormer(config, make_sampling(spatial, slots=cameras_per_query))
    model.eval()
    return model
