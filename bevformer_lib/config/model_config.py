"""The typed description of a BEVFormer model: everything that its layers, its graph and its inputs depend on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True)
class BackboneConfig:
    """ResNet as mmdet builds it.

    Attributes:
        depth: 50 or 101.
        style: ``pytorch`` puts a bottleneck's stride on its 3x3 convolution, ``caffe`` on its first 1x1.
        base_channels: channels of the stem; 64 in every published model.
        out_indices: stages (0..3) whose outputs go to the neck.
        stage_with_dcn: per stage, whether the 3x3 convolutions are modulated deformable convolutions (DCNv2).
        deform_groups: groups of offsets of these.
    """

    depth: int
    style: Literal["pytorch", "caffe"]
    base_channels: int
    out_indices: tuple[int, ...]
    stage_with_dcn: tuple[bool, bool, bool, bool]
    deform_groups: int = 1


@dataclass(frozen=True)
class NeckConfig:
    """FPN as mmdet builds it, with extra levels taken from its last output.

    Attributes:
        in_channels: channels of the backbone's outputs, finest first.
        out_channels: channels of every level.
        num_outs: number of levels put out; those beyond ``in_channels`` are stride-2 convolutions.
        relu_before_extra_convs: ReLU between extra levels (no effect with a single one).
    """

    in_channels: tuple[int, ...]
    out_channels: int
    num_outs: int
    relu_before_extra_convs: bool


@dataclass(frozen=True)
class EncoderConfig:
    """BEV encoder: temporal self-attention, spatial cross-attention, feed-forward.

    Attributes:
        num_heads: attention heads of both attentions.
        temporal_points: sampling points per head and queue of the temporal self-attention.
        temporal_queues: BEV maps attended to (``prev_bev`` and the current one): 2.
        pillar_points: heights per BEV cell that are projected into the cameras.
        spatial_points: sampling points per head and level of the spatial cross-attention, a multiple of the pillar's.
        pc_range: range in which the pillars stand, m: x_min, y_min, z_min, x_max, y_max, z_max in the LiDAR frame.
    """

    num_layers: int
    num_heads: int
    temporal_points: int
    temporal_queues: int
    pillar_points: int
    spatial_points: int
    spatial_levels: int
    feedforward_channels: int
    pc_range: tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class DecoderConfig:
    """Detection decoder: self-attention over the object queries, deformable attention into the BEV, feed-forward."""

    num_layers: int
    num_heads: int
    num_points: int
    feedforward_channels: int


@dataclass(frozen=True)
class BoxCoderConfig:
    """How raw outputs become boxes (NMSFreeCoder).

    Attributes:
        pc_range: range that scales the normalised centres to metres.
        post_center_range: boxes whose gravity centre lies outside are dropped; bounds included.
        max_num: at most this many boxes.
        score_threshold: boxes at or below are dropped; ``None``: no threshold.
    """

    pc_range: tuple[float, float, float, float, float, float]
    post_center_range: tuple[float, float, float, float, float, float]
    max_num: int
    num_classes: int
    score_threshold: float | None = None


ImageDtype: TypeAlias = Literal["float32", "uint8"]
"""What a graph takes of the cameras: images that the host has normalised, or pixels, which it normalises itself."""


@dataclass(frozen=True)
class ImageNormConfig:
    """Pixel normalisation: BGR to RGB if ``to_rgb``, then ``(x - mean) / std`` per channel in that order."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    to_rgb: bool


@dataclass(frozen=True)
class ModelConfig:
    """A whole BEVFormer model.

    Attributes:
        name: for people; not part of the digest.
        image_hw: padded image size (height, width) in pixels, as the network is fed.
        image_scale: factor from the camera's own image to the unpadded network image.
        bev_h: BEV rows (along y, forward).
        bev_w: BEV columns (along x, right).
        embed_dims: channels of BEV and queries.
        class_names: in the order of the class scores.
        pc_range: range of the detection head, m, LiDAR frame.
        rotate_center: (x, y) in cells about which ``prev_bev`` is rotated.
        rotate_prev_bev: whether ``prev_bev`` is rotated by the change of yaw.
        use_shift: whether ``prev_bev``'s reference points are shifted by the ego motion.
        use_can_bus: whether ``can_bus`` is embedded and added to the BEV queries.
        can_bus_norm: whether that embedding ends in a LayerNorm.
        use_cams_embeds: whether a learnt vector per camera is added to the image features.
        with_box_refine: whether every decoder layer has its own branches and refines the reference points.
        num_feature_levels: rows of ``level_embeds`` (4 in every published model, also with one level).
        num_reg_fcs: hidden layers of the branches.
        code_size: values per box: cx, cy, w, l, cz, h, sin, cos, vx, vy.
    """

    name: str
    num_cams: int
    image_hw: tuple[int, int]
    image_scale: float
    bev_h: int
    bev_w: int
    embed_dims: int
    num_query: int
    num_classes: int
    class_names: tuple[str, ...]
    pc_range: tuple[float, float, float, float, float, float]
    rotate_center: tuple[float, float]
    rotate_prev_bev: bool
    use_shift: bool
    use_can_bus: bool
    can_bus_norm: bool
    use_cams_embeds: bool
    with_box_refine: bool
    num_feature_levels: int
    num_reg_fcs: int
    code_size: int
    backbone: BackboneConfig
    neck: NeckConfig
    encoder: EncoderConfig
    decoder: DecoderConfig
    box_coder: BoxCoderConfig
    img_norm: ImageNormConfig

    @property
    def num_bev_cells(self) -> int:
        """Number of BEV cells, ``bev_h * bev_w``; cell ``row * bev_w + column``."""
        return self.bev_h * self.bev_w

    def image_bytes(self, dtype: ImageDtype) -> int:
        """Return the size of a frame's images as a graph takes them."""
        height, width = self.image_hw
        return self.num_cams * 3 * height * width * (1 if dtype == "uint8" else 4)

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain nested data."""
        return dataclasses.asdict(self)

    def digest(self) -> str:
        """Return the sha256 (hex) of the canonical JSON of everything but ``name``."""
        content = self.to_dict()
        del content["name"]
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
