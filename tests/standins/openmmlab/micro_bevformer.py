# ruff: noqa: C408 (configs of this kind are written with dict(...))
# The model of tests/support/micro.py in the form of the original's configs; images 96 x 160 after padding.
point_cloud_range = [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
class_names = ["car", "truck", "construction_vehicle", "bus", "trailer", "barrier"]
class_names += ["motorcycle", "bicycle", "pedestrian", "traffic_cone"]
_order_ = ("self_attn", "norm", "cross_attn", "norm", "ffn", "norm")

model = dict(
    type="BEVFormer",
    use_grid_mask=True,
    video_test_mode=True,
    pretrained=dict(img="torchvision://resnet50"),
    img_backbone=dict(
        type="ResNet",
        depth=50,
        num_stages=4,
        out_indices=(3,),
        frozen_stages=1,
        norm_cfg=dict(type="BN", requires_grad=False),
        norm_eval=True,
        style="pytorch",
        base_channels=8,
    ),
    img_neck=dict(
        type="FPN",
        in_channels=[256],
        out_channels=32,
        start_level=0,
        add_extra_convs="on_output",
        num_outs=1,
        relu_before_extra_convs=True,
    ),
    pts_bbox_head=dict(
        type="BEVFormerHead",
        bev_h=10,
        bev_w=12,
        num_query=30,
        num_classes=10,
        in_channels=32,
        sync_cls_avg_factor=True,
        with_box_refine=True,
        as_two_stage=False,
        transformer=dict(
            type="PerceptionTransformer",
            rotate_prev_bev=True,
            use_shift=True,
            use_can_bus=True,
            embed_dims=32,
            rotate_center=[6, 5],
            encoder=dict(
                type="BEVFormerEncoder",
                num_layers=2,
                pc_range=point_cloud_range,
                num_points_in_pillar=4,
                return_intermediate=False,
                transformerlayers=dict(
                    type="BEVFormerLayer",
                    attn_cfgs=[
                        dict(type="TemporalSelfAttention", embed_dims=32, num_levels=1),
                        dict(
                            type="SpatialCrossAttention",
                            pc_range=point_cloud_range,
                            deformable_attention=dict(
                                type="MSDeformableAttention3D", embed_dims=32, num_points=8, num_levels=1
                            ),
                            embed_dims=32,
                        ),
                    ],
                    feedforward_channels=64,
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
                    attn_cfgs=[
                        dict(type="MultiheadAttention", embed_dims=32, num_heads=8, dropout=0.1),
                        dict(type="CustomMSDeformableAttention", embed_dims=32, num_levels=1),
                    ],
                    feedforward_channels=64,
                    ffn_dropout=0.1,
                    operation_order=_order_,
                ),
            ),
        ),
        bbox_coder=dict(
            type="NMSFreeCoder",
            post_center_range=[-61.2, -61.2, -10.0, 61.2, 61.2, 10.0],
            pc_range=point_cloud_range,
            max_num=50,
            voxel_size=[0.2, 0.2, 8],
            num_classes=10,
        ),
        positional_encoding=dict(type="LearnedPositionalEncoding", num_feats=16, row_num_embed=10, col_num_embed=12),
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=2.0),
    ),
    train_cfg=dict(pts=dict(grid_size=[512, 512, 1])),
)
