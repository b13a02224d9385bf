"""The three published BEVFormer models, as the original's config files describe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from bevformer_lib.config.model_config import (
    BackboneConfig,
    BoxCoderConfig,
    DecoderConfig,
    EncoderConfig,
    ImageNormConfig,
    ModelConfig,
    NeckConfig,
)

_PC_RANGE: Final = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)

TINY: Final = ModelConfig(
    name="tiny",
    num_cams=6,
    image_hw=(480, 800),
    image_scale=0.5,
    bev_h=50,
    bev_w=50,
    embed_dims=256,
    num_query=900,
    num_classes=10,
    class_names=(
        "car",
        "truck",
        "construction_vehicle",
        "bus",
        "trailer",
        "barrier",
        "motorcycle",
        "bicycle",
        "pedestrian",
        "traffic_cone",
    ),
    pc_range=_PC_RANGE,
    # Not the middle of a 50 x 50 map, but what the published weights were trained with.
    rotate_center=(100.0, 100.0),
    rotate_prev_bev=True,
    use_shift=True,
    use_can_bus=True,
    can_bus_norm=True,
    use_cams_embeds=True,
    with_box_refine=True,
    num_feature_levels=4,
    num_reg_fcs=2,
    code_size=10,
    backbone=BackboneConfig(
        depth=50,
        style="pytorch",
        base_channels=64,
        out_indices=(3,),
        stage_with_dcn=(False, False, False, False),
    ),
    neck=NeckConfig(in_channels=(2048,), out_channels=256, num_outs=1, relu_before_extra_convs=True),
    encoder=EncoderConfig(
        num_layers=3,
        num_heads=8,
        temporal_points=4,
        temporal_queues=2,
        pillar_points=4,
        spatial_points=8,
        spatial_levels=1,
        feedforward_channels=512,
        pc_range=_PC_RANGE,
    ),
    decoder=DecoderConfig(num_layers=6, num_heads=8, num_points=4, feedforward_channels=512),
    box_coder=BoxCoderConfig(
        pc_range=_PC_RANGE,
        post_center_range=(-61.2, -61.2, -10.0, 61.2, 61.2, 10.0),
        max_num=300,
        num_classes=10,
    ),
    img_norm=ImageNormConfig(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), to_rgb=True),
)

SMALL: Final = replace(
    TINY,
    name="small",
    image_hw=(736, 1280),
    image_scale=0.8,
    bev_h=150,
    bev_w=150,
    backbone=BackboneConfig(
        depth=101,
        style="caffe",
        base_channels=64,
        out_indices=(3,),
        stage_with_dcn=(False, False, True, True),
    ),
    img_norm=ImageNormConfig(mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0), to_rgb=False),
)

BASE: Final = replace(
    SMALL,
    name="base",
    image_hw=(928, 1600),
    image_scale=1.0,
    bev_h=200,
    bev_w=200,
    backbone=replace(SMALL.backbone, out_indices=(1, 2, 3)),
    neck=replace(SMALL.neck, in_channels=(512, 1024, 2048), num_outs=4),
    encoder=replace(SMALL.encoder, num_layers=6, spatial_levels=4),
)

PRESETS: Final[Mapping[str, ModelConfig]] = MappingProxyType({config.name: config for config in (TINY, SMALL, BASE)})
"""Preset name -> model."""
