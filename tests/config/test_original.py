"""From the original's form to a model config: what is taken over, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from bevformer_lib.config.camera_capacity import PillarGrid
from bevformer_lib.config.original import model_config_from_original
from bevformer_lib.config.presets import PRESETS
from bevformer_lib.errors import ConfigError
from bevformer_lib.geometry.pillars import pillar_points_lidar_m
from tests.config.support import at, tiny_content

HEAD = "model.pts_bbox_head"
TRANSFORMER = f"{HEAD}.transformer"
LAYER = f"{TRANSFORMER}.encoder.transformerlayers"
TEMPORAL = f"{LAYER}.attn_cfgs.0"
SPATIAL = f"{LAYER}.attn_cfgs.1"
DECODER = f"{TRANSFORMER}.decoder"
AMONG_QUERIES = f"{DECODER}.transformerlayers.attn_cfgs.0"
INTO_BEV = f"{DECODER}.transformerlayers.attn_cfgs.1"
REMOVED = object()


def _changed(changes: dict[str, Any]) -> dict[str, Any]:
    """Return the fixture's content with dotted keys set, or removed."""
    content = tiny_content()
    for dotted, value in changes.items():
        *parents, last = [int(key) if key.isdigit() else key for key in dotted.split(".")]
        if value is REMOVED:
            del at(content, parents)[last]
        else:
            at(content, parents)[last] = value
    return content


def _model(changes: dict[str, Any], **options: Any) -> Any:
    return model_config_from_original(_changed(changes), name="tiny", source="some.py", **options)


def test_unchanged_fixture_is_the_tiny_preset() -> None:
    assert _model({}) == PRESETS["tiny"]


def test_a_detector_that_was_trained_in_half_precision_is_the_same_network() -> None:
    assert _model({"model.type": "BEVFormer_fp16", "fp16": {"loss_scale": 512.0}}) == PRESETS["tiny"]


def test_the_axes_that_the_original_feeds_may_be_written_out() -> None:
    encoder, decoder = (LAYER, TEMPORAL, SPATIAL), (f"{DECODER}.transformerlayers", AMONG_QUERIES, INTO_BEV)
    orders = {**dict.fromkeys(encoder, True), **dict.fromkeys(decoder, False)}
    assert _model({f"{section}.batch_first": order for section, order in orders.items()}) == PRESETS["tiny"]


def test_a_head_without_a_loss_is_the_same_network() -> None:
    assert _model({f"{HEAD}.loss_cls": REMOVED}) == PRESETS["tiny"]


def test_pillars_have_heights_of_their_own() -> None:
    lower = [-51.2, -51.2, -2.8, 51.2, 51.2, 1.6]
    model = _model({f"{TRANSFORMER}.encoder.pc_range": lower, f"{SPATIAL}.pc_range": lower})

    assert model.encoder.pc_range == tuple(lower)
    assert model.pc_range == model.box_coder.pc_range == (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
    points = pillar_points_lidar_m(PillarGrid.of(model))
    assert (points[2].min(), points[2].max()) == pytest.approx((-2.3, 1.1))


def test_every_size_is_free() -> None:
    names = ["boat", "buoy", "swimmer"]
    model = _model(
        {
            "class_names": names,
            f"{HEAD}.num_classes": 3,
            f"{HEAD}.bbox_coder.num_classes": 3,
            f"{HEAD}.bbox_coder.score_threshold": 0.25,
            f"{HEAD}.bbox_coder.max_num": 120,
            f"{HEAD}.num_query": 40,
            f"{HEAD}.bev_h": 30,
            f"{HEAD}.bev_w": 70,
            f"{HEAD}.positional_encoding.row_num_embed": 30,
            f"{HEAD}.positional_encoding.col_num_embed": 70,
            f"{HEAD}.num_reg_fcs": 1,
            f"{TRANSFORMER}.num_cams": 4,
            f"{SPATIAL}.num_cams": 4,
            f"{TRANSFORMER}.rotate_center": [35, 15],
            f"{TRANSFORMER}.use_shift": False,
            f"{TRANSFORMER}.can_bus_norm": False,
            f"{TEMPORAL}.num_heads": 4,
            f"{SPATIAL}.deformable_attention.num_heads": 4,
            f"{INTO_BEV}.num_points": 2,
            "model.img_neck.num_outs": 2,
            f"{SPATIAL}.deformable_attention.num_levels": 2,
        },
        image_hw=(256, 448),
    )
    assert model.class_names == tuple(names)
    assert model.image_hw == (256, 448)
    assert model.image_scale == pytest.approx(0.28)
    assert (model.bev_h, model.bev_w, model.num_query, model.num_cams) == (30, 70, 40, 4)
    assert (model.box_coder.score_threshold, model.box_coder.max_num) == (0.25, 120)
    assert (model.encoder.num_heads, model.decoder.num_heads, model.decoder.num_points) == (4, 8, 2)
    assert (model.neck.num_outs, model.encoder.spatial_levels) == (2, 2)
    assert (model.rotate_center, model.use_shift, model.can_bus_norm) == ((35.0, 15.0), False, False)


@pytest.mark.parametrize(
    "dotted",
    [
        "model",
        "class_names",
        "point_cloud_range",
        "img_norm_cfg",
        "img_norm_cfg.to_rgb",
        "model.img_backbone",
        "model.img_backbone.depth",
        "model.img_backbone.style",
        "model.img_backbone.out_indices",
        "model.img_backbone.norm_cfg",
        "model.img_neck.in_channels",
        "model.img_neck.out_channels",
        "model.img_neck.num_outs",
        f"{HEAD}.type",
        f"{HEAD}.bev_h",
        f"{HEAD}.bev_w",
        f"{HEAD}.num_query",
        f"{HEAD}.num_classes",
        f"{HEAD}.with_box_refine",
        f"{HEAD}.bbox_coder.post_center_range",
        f"{HEAD}.bbox_coder.max_num",
        f"{HEAD}.positional_encoding.num_feats",
        f"{HEAD}.loss_cls.use_sigmoid",
        f"{TRANSFORMER}.embed_dims",
        f"{TRANSFORMER}.encoder.num_layers",
        f"{TRANSFORMER}.encoder.pc_range",
        f"{LAYER}.feedforward_channels",
        f"{SPATIAL}.deformable_attention",
        f"{DECODER}.num_layers",
        f"{AMONG_QUERIES}.num_heads",
    ],
)
def test_missing_key_is_named(dotted: str) -> None:
    with pytest.raises(ConfigError, match=rf"^some\.py: {dotted} is missing"):
        _model({dotted: REMOVED})


@pytest.mark.parametrize(
    ("dotted", "value", "why"),
    [
        ("model.type", "BEVFusion", "only BEVFormer can be built"),
        ("model.video_test_mode", False, "only True is supported"),
        ("model.video_test_mode", REMOVED, "is left out, which means False in the original"),
        ("model.pts_backbone", {"type": "SECOND"}, "only None is supported"),
        ("model.fcos3d_bbox_head", {}, "not a key of BEVFormer"),
        ("model.img_backbone.type", "VoVNet", "only ResNet can be built"),
        ("model.img_backbone.depth", 18, "only 50 or 101 is supported"),
        ("model.img_backbone.style", "tensorflow", "only 'pytorch' or 'caffe' is supported"),
        ("model.img_backbone.deep_stem", True, "only False is supported"),
        ("model.img_backbone.avg_down", True, "only False is supported"),
        ("model.img_backbone.stem_channels", 32, "must equal base_channels, 64"),
        ("model.img_backbone.strides", [1, 2, 2, 1], "is supported"),
        ("model.img_backbone.groups", 32, "not a key of ResNet"),
        ("model.img_backbone.norm_cfg", {"type": "GN", "num_groups": 32}, "only BN, BN2d, SyncBN"),
        ("model.img_backbone.norm_cfg", {"type": "BN", "eps": 0.1}, "without settings"),
        ("model.img_backbone.out_indices", [3, 2], "increasing"),
        ("model.img_backbone.out_indices", [4], "increasing"),
        ("model.img_neck.type", "BiFPN", "only FPN can be built"),
        ("model.img_neck.in_channels", [1024], "is \\[1024\\], but the backbone puts out \\[2048\\]"),
        ("model.img_neck.norm_cfg", {"type": "BN"}, "only None is supported"),
        ("model.img_neck.start_level", 1, "only 0 is supported"),
        ("model.img_neck.out_channels", 128, "transformer.embed_dims is 256"),
        (f"{HEAD}.type", "DeformableDETRHead", "only BEVFormerHead can be built"),
        (f"{HEAD}.as_two_stage", True, "only False is supported"),
        (f"{HEAD}.code_size", 8, "only 10 is supported"),
        (f"{HEAD}.in_channels", 128, "transformer.embed_dims is 256"),
        (f"{HEAD}.num_classes", 9, "class_names holds 10 names"),
        (f"{HEAD}.bev_h", 0, "whole number of at least 1"),
        (f"{HEAD}.num_query", 10**400, "is larger than 1048576"),
        (f"{HEAD}.bev_h", 50.0, "whole number of at least 1"),
        (f"{HEAD}.bev_h", True, "whole number of at least 1"),
        (f"{HEAD}.loss_cls.use_sigmoid", False, "background"),
        (f"{HEAD}.positional_encoding.type", "SinePositionalEncoding", "only LearnedPositionalEncoding"),
        (f"{HEAD}.positional_encoding.num_feats", 64, "half of embed_dims, 256"),
        (f"{HEAD}.positional_encoding.row_num_embed", 40, "bev_h is 50"),
        (f"{HEAD}.positional_encoding.col_num_embed", 60, "bev_w is 50"),
        (f"{HEAD}.bbox_coder.type", "DETRCoder", "only NMSFreeCoder"),
        (f"{HEAD}.bbox_coder.num_classes", 5, "num_classes is 10"),
        (f"{HEAD}.bbox_coder.pc_range", [-50, -50, -5, 50, 50, 3], "point_cloud_range is"),
        (f"{HEAD}.bbox_coder.max_num", 9001, "above the 9000 scores"),
        (f"{HEAD}.bbox_coder.score_threshold", float("nan"), "finite number"),
        (f"{HEAD}.bbox_coder.post_center_range", [1, 1, 1, 0, 2, 2], "three minima"),
        (f"{TRANSFORMER}.type", "PerceptionTransformerV2", "only PerceptionTransformer can be built"),
        (f"{TRANSFORMER}.num_feature_levels", 0, "at least 1"),
        (f"{TRANSFORMER}.rotate_center", [100], "must hold 2 values"),
        (f"{TRANSFORMER}.use_shift", 1, "true or false"),
        (f"{TRANSFORMER}.encoder.pc_range", [-50, -50, -5, 50, 50, 3], "point_cloud_range is"),
        (f"{TRANSFORMER}.encoder.return_intermediate", True, "only False is supported"),
        (f"{LAYER}.operation_order", ["norm", "self_attn", "norm", "cross_attn", "norm", "ffn"], "'self_attn', 'norm'"),
        (f"{LAYER}.operation_order", REMOVED, "is left out, which means None"),
        (f"{LAYER}.norm_cfg", {"type": "BN"}, "'LN'"),
        (f"{LAYER}.act_cfg", {"type": "GELU"}, "'ReLU'"),
        (f"{LAYER}.ffn_num_fcs", 3, "only 2 is supported"),
        (f"{LAYER}.batch_first", False, "only True is supported"),
        (f"{LAYER}.attn_cfgs", [], "must hold 2 values, not 0"),
        (f"{TEMPORAL}.type", "MultiheadAttention", "only TemporalSelfAttention"),
        (f"{TEMPORAL}.num_levels", REMOVED, "is left out, which means 4"),
        (f"{TEMPORAL}.num_bev_queue", 3, "only 2 is supported"),
        (f"{TEMPORAL}.batch_first", False, "only True is supported"),
        (f"{TEMPORAL}.embed_dims", 128, "transformer.embed_dims is 256"),
        (f"{TEMPORAL}.num_heads", 7, "does not divide embed_dims, 256"),
        (f"{SPATIAL}.num_cams", 5, "transformer.num_cams is 6"),
        (f"{SPATIAL}.pc_range", [-50, -50, -5, 50, 50, 3], "encoder.pc_range is"),
        (f"{SPATIAL}.batch_first", False, "only True is supported"),
        (f"{SPATIAL}.deformable_attention.batch_first", False, "only True is supported"),
        (f"{SPATIAL}.deformable_attention.type", "MSDeformableAttention", "only MSDeformableAttention3D"),
        (f"{SPATIAL}.deformable_attention.num_levels", 4, "img_neck.num_outs is 1"),
        (f"{SPATIAL}.deformable_attention.num_points", 6, "multiple of num_points_in_pillar, 4"),
        (f"{DECODER}.return_intermediate", REMOVED, "is left out, which means False"),
        (f"{AMONG_QUERIES}.type", "GroupAttention", "only MultiheadAttention"),
        (f"{INTO_BEV}.type", "MultiScaleDeformableAttention", "only CustomMSDeformableAttention"),
        (f"{INTO_BEV}.num_levels", 2, "only 1 is supported"),
        (f"{DECODER}.transformerlayers.batch_first", True, "only False is supported"),
        (f"{AMONG_QUERIES}.batch_first", True, "only False is supported"),
        (f"{INTO_BEV}.batch_first", True, "only False is supported"),
        ("point_cloud_range", [-51.2, -51.2, -5.0, 51.2, 51.2], "must hold 6 values, not 5"),
        ("point_cloud_range", "wide", "must be a list, not 'wide'"),
        ("class_names", ["car"] * 10, "names something twice"),
        ("class_names", "car", "must be a list"),
        ("img_norm_cfg", [1], "must be a dict"),
        ("img_norm_cfg.std", [1, 0, 1], "above 0"),
    ],
)
def test_what_can_not_be_honoured_is_refused(dotted: str, value: object, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"^some\.py: {dotted} .*{why}|^some\.py: {dotted}\.\w+ .*{why}"):
        _model({dotted: value})


@pytest.mark.parametrize(
    ("dotted", "value", "message"),
    [
        ("model.img_backbone.stage_with_dcn", [False, False, False, True], r"img_backbone\.dcn is missing, though"),
        ("model.img_backbone.base_channels", 32, r"img_neck\.in_channels is \[2048\], but .* \[1024\]"),
        ("model.img_neck.num_outs", 4, r"deformable_attention\.num_levels is 1, but img_neck\.num_outs is 4"),
        ("model.img_neck.in_channels", [2048, 2048], r"in_channels is \[2048, 2048\], but"),
        (f"{TRANSFORMER}.encoder.num_points_in_pillar", 3, r"num_points must be a multiple .*, 3"),
        (f"{TRANSFORMER}.embed_dims", 128, r"img_neck\.out_channels is 256, but transformer\.embed_dims is 128"),
        (f"{TEMPORAL}.num_heads", 4, r"deformable_attention\.num_heads is 8, but .*\.attn_cfgs\.0\.num_heads is 4"),
        (f"{AMONG_QUERIES}.num_heads", 4, r"attn_cfgs\.1\.num_heads is 8, but .*\.attn_cfgs\.0\.num_heads is 4"),
        (
            f"{LAYER}.ffn_cfgs",
            {"type": "FFN", "embed_dims": 256, "feedforward_channels": 1024},
            r"ffn_cfgs\.feedforward_channels is 1024, but .*\.feedforward_channels is 512",
        ),
    ],
)
def test_places_that_disagree_are_both_named(dotted: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^some\.py: .*{message}"):
        _model({dotted: value})


def test_deformable_convolutions() -> None:
    dcn = {"type": "DCNv2", "deform_groups": 1, "fallback_on_stride": False}
    stages = [False, True, False, True]
    model = _model({"model.img_backbone.dcn": dcn, "model.img_backbone.stage_with_dcn": stages})
    assert model.backbone.stage_with_dcn == (False, True, False, True)
    assert model.backbone.deform_groups == 1
    grouped = {"model.img_backbone.dcn": {**dcn, "deform_groups": 4}, "model.img_backbone.stage_with_dcn": stages}
    assert _model(grouped).backbone.deform_groups == 4
    with pytest.raises(ConfigError, match=r"img_backbone\.dcn\.deform_groups is 3, which does not divide stage 1"):
        _model({"model.img_backbone.dcn": {**dcn, "deform_groups": 3}, "model.img_backbone.stage_with_dcn": stages})
    with pytest.raises(ConfigError, match=r"img_backbone\.dcn\.type is 'DCN'; only DCNv2"):
        _model({"model.img_backbone.dcn": {"type": "DCN"}, "model.img_backbone.stage_with_dcn": stages})
    with pytest.raises(ConfigError, match=r"img_backbone\.stage_with_dcn is missing"):
        _model({"model.img_backbone.dcn": dcn})


def test_extra_feature_levels_come_from_the_output() -> None:
    levels = {"model.img_neck.num_outs": 2, f"{SPATIAL}.deformable_attention.num_levels": 2}
    assert _model(levels).neck.num_outs == 2
    with pytest.raises(ConfigError, match=r"img_neck\.add_extra_convs must be 'on_output'"):
        _model({**levels, "model.img_neck.add_extra_convs": "on_input"})
    with pytest.raises(ConfigError, match=r"transformer\.num_feature_levels must be at least img_neck\.num_outs, 2"):
        _model({**levels, f"{TRANSFORMER}.num_feature_levels": 1})


def test_the_hidden_width_may_stand_in_ffn_cfgs_alone() -> None:
    ffn = {"type": "FFN", "embed_dims": 256, "feedforward_channels": 512}
    layers = (LAYER, f"{DECODER}.transformerlayers")
    widths = {f"{layer}.feedforward_channels": REMOVED for layer in layers} | {
        f"{layer}.ffn_cfgs": ffn for layer in layers
    }
    assert _model(widths) == PRESETS["tiny"]


@pytest.mark.parametrize("name", ["UniAD", "VAD", "BEVFormerV2"])
def test_a_derived_model_is_refused_for_what_it_is(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.type is '{name}', a model built on BEVFormer with modules"):
        _model({"model.type": name})
