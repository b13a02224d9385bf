"""A BEVFormer small enough for unit tests; its shape is that of the golden case `micro_tiny`."""

from __future__ import annotations

from bevformer_lib.config.model_config import (
    BackboneConfig,
    BoxCoderConfig,
    DecoderConfig,
    EncoderConfig,
    ImageNormConfig,
    ModelConfig,
    NeckConfig,
)

PC_RANGE = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
CLASS_NAMES = (
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
)


def micro_config() -> ModelConfig:
    """BEV 10 x 12, 32 channels, 30 queries, six cameras of 96 x 160 pixels, a narrow ResNet-50."""
    return ModelConfig(
        name="micro",
        num_cams=6,
        image_hw=(96, 160),
        image_scale=0.1,
        bev_h=10,
        bev_w=12,
        embed_dims=32,
        num_query=30,
        num_classes=10,
        class_names=CLASS_NAMES,
        pc_range=PC_RANGE,
        rotate_center=(6.0, 5.0),
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
            base_channels=8,
            out_indices=(3,),
            stage_with_dcn=(False, False, False, False),
        ),
        neck=NeckConfig(in_channels=(256,), out_channels=32, num_outs=1, relu_before_extra_convs=True),
        encoder=EncoderConfig(
            num_layers=2,
            num_heads=8,
            temporal_points=4,
            temporal_queues=2,
            pillar_points=4,
            spatial_points=8,
            spatial_levels=1,
            feedforward_channels=64,
            pc_range=PC_RANGE,
        ),
        decoder=DecoderConfig(num_layers=3, num_heads=8, num_points=4, feedforward_channels=64),
        box_coder=BoxCoderConfig(
            pc_range=PC_RANGE,
            post_center_range=(-61.2, -61.2, -10.0, 61.2, 61.2, 10.0),
            max_num=50,
            num_classes=10,
        ),
        img_norm=ImageNormConfig(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), to_rgb=True),
    )
