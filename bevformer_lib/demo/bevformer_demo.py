# The demo model: 6 images of 256 x 448, BEV 64 x 64, ResNet-50 layout with 16 base channels, 3.9 M parameters.
_dim_, _ff_, _heads_, _rows_ = 128, 256, 4, 64
point_cloud_range = [-51.2, -51.2, -2.8, 51.2, 51.2, 1.6]
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
class_names = ["car", "truck", "construction_vehicle", "bus", "trailer", "barrier"]
class_names += ["motorcycle", "bicycle", "pedestrian", "traffic_cone"]
_order_ = ("self_attn", "norm", "cross_attn", "norm", "ffn", "norm")
_temporal_ = dict(type="TemporalSelfAttention", embed_dims=_dim_, num_heads=_heads_, num_levels=1)
_spatial_ = dict(
    type="SpatialCrossAttention",
    pc_range=point_cloud_range,
    deformable_attention=dict(
        type="MSDeformableAttention3D", embed_dims=_dim_, num_heads=_heads_, num_points=4, num_levels=3
    ),
    embed_dims=_dim_,
)
_among_queries_ = dict(type="MultiheadAttention", embed_dims=_dim_, num_heads=_heads_, dropout=0.1)
_into_bev_ = dict(type="CustomMSDeformableAttention", embed_dims=_dim_, num_heads=_heads_, num_levels=1)
model = dict(
    type="BEVFormer",
    use_grid_mask=True,
    video_test_mode=True,
    img_backbone=dict(
        type="ResNet",
        depth=50,
        base_channels=16,
        num_stages=4,
        out_indices=(1, 2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,
        style="pytorch",
    ),
    img_neck=dict(
        type="FPN",
        in_channels=[128, 256, 512],
        out_channels=_dim_,
        start_level=0,
        add_extra_convs="on_output",
        num_outs=3,
        relu_before_extra_convs=True,
    ),
    pts_bbox_head=dict(
        type="BEVFormerHead",
        bev_h=_rows_,
        bev_w=_rows_,
        num_query=200,
        num_classes=10,
        in_channels=_dim_,
        sync_cls_avg_factor=True,
        with_box_refine=True,
        as_two_stage=False,
        transformer=dict(
            type="PerceptionTransformer",
            rotate_prev_bev=True,
            use_shift=True,
            use_can_bus=True,
            embed_dims=_dim_,
            rotate_center=[32, 32],
            encoder=dict(
                type="BEVFormerEncoder",
                num_layers=3,
                pc_range=point_cloud_range,
                num_points_in_pillar=4,
                return_intermediate=False,
                transformerlayers=dict(
                    type="BEVFormerLayer",
                    attn_cfgs=[_temporal_, _spatial_],
                    feedforward_channels=_ff_,
                    ffn_dropout=0.1,
                    operation_order=_order_,
                ),
            ),
            decoder=dict(
                type="DetectionTransformerDecoder",
                num_layers=3,
                return_intermediate=True,
                transformerlayers=dict(
                    type="DetrTransformerDecoderLayer",
                    attn_cfgs=[_among_queries_, _into_bev_],
                    feedforward_channels=_ff_,
                    ffn_dropout=0.1,
                    operation_order=_order_,
                ),
            ),
        ),
        bbox_coder=dict(
            type="NMSFreeCoder",
            post_center_range=[-61.2, -61.2, -10.0, 61.2, 61.2, 10.0],
            pc_range=point_cloud_range,
            max_num=300,
            voxel_size=[0.2, 0.2, 8],
            num_classes=10,
        ),
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=2.0),
        positional_encoding=dict(
            type="LearnedPositionalEncoding", num_feats=_dim_ // 2, row_num_embed=_rows_, col_num_embed=_rows_
        ),
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
            dict(type="RandomScaleImageMultiViewImage", scales=[0.28]),
            dict(type="PadMultiViewImage", size_divisor=32),
            dict(type="DefaultFormatBundle3D", class_names=class_names, with_label=False),
            dict(type="CustomCollect3D", keys=["img"]),
        ],
    ),
]
data = dict(test=dict(pipeline=test_pipeline, bev_size=(_rows_, _rows_)))
