# ruff: noqa: C408 (configs of this kind are written with dict(...))
# The model of tests/support/micro.py, in the original's form: for tests that start where a user starts.
_base_ = ["../config/fixtures/bevformer/tiny.py"]

_dim_ = 32
_rows_, _columns_ = 10, 12
_half_dim_ = _dim_ // 2
point_cloud_range = [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
class_names = ["car", "truck", "construction_vehicle", "bus", "trailer", "barrier"]
class_names += ["motorcycle", "bicycle", "pedestrian", "traffic_cone"]

_temporal_ = dict(type="TemporalSelfAttention", embed_dims=_dim_, num_levels=1)
_spatial_ = dict(
    type="SpatialCrossAttention",
    pc_range=point_cloud_range,
    deformable_attention=dict(type="MSDeformableAttention3D", embed_dims=_dim_, num_points=8, num_levels=1),
    embed_dims=_dim_,
)
_among_queries_ = dict(type="MultiheadAttention", embed_dims=_dim_, num_heads=8, dropout=0.1)
_into_bev_ = dict(type="CustomMSDeformableAttention", embed_dims=_dim_, num_levels=1)

model = dict(
    img_backbone=dict(base_channels=8),
    img_neck=dict(in_channels=[256], out_channels=_dim_),
    pts_bbox_head=dict(
        bev_h=_rows_,
        bev_w=_columns_,
        num_query=30,
        in_channels=_dim_,
        transformer=dict(
            embed_dims=_dim_,
            rotate_center=[6, 5],
            encoder=dict(
                num_layers=2,
                transformerlayers=dict(attn_cfgs=[_temporal_, _spatial_], feedforward_channels=64),
            ),
            decoder=dict(
                num_layers=3,
                transformerlayers=dict(attn_cfgs=[_among_queries_, _into_bev_], feedforward_channels=64),
            ),
        ),
        bbox_coder=dict(max_num=50),
        positional_encoding=dict(num_feats=_half_dim_, row_num_embed=_rows_, col_num_embed=_columns_),
    ),
)

test_pipeline = [
    dict(type="LoadMultiViewImageFromFiles", to_float32=True),
    dict(type="NormalizeMultiviewImage", **img_norm_cfg),
    dict(
        type="MultiScaleFlipAug3D",
        img_scale=(1600, 900),
        pts_scale_ratio=1,
        flip=False,
        transforms=[
            dict(type="RandomScaleImageMultiViewImage", scales=[0.1]),
            dict(type="PadMultiViewImage", size_divisor=32),
            dict(type="DefaultFormatBundle3D", class_names=class_names, with_label=False),
            dict(type="CustomCollect3D", keys=["img"]),
        ],
    ),
]
data = dict(test=dict(pipeline=test_pipeline, bev_size=(_rows_, _columns_)))
