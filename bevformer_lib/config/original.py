"""From a config in the original's form to a checked :class:`ModelConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, cast

from bevformer_lib.config.common_parts import read_box_coder, read_image_norm
from bevformer_lib.config.image_size import image_of_pipeline, image_of_size
from bevformer_lib.config.limits import MAX_BASE_CHANNELS, MAX_CAMERAS, MAX_LAYERS
from bevformer_lib.config.model_config import (
    BackboneConfig,
    DecoderConfig,
    EncoderConfig,
    ModelConfig,
    NeckConfig,
)
from bevformer_lib.config.original_classes import as_original
from bevformer_lib.config.section import Section

_BOTTLENECK_EXPANSION: Final = 4
_BATCH_NORMS: Final = ("BN", "BN2d", "SyncBN")
_CODE_SIZE: Final = 10


def model_config_from_original(
    content: Mapping[str, Any], *, name: str, source: str, image_hw: tuple[int, int] | None = None
) -> ModelConfig:
    """Return the model that a config of the original describes.

    Args:
        content: the config's names and values, bases merged in.
        name: name of the model, for people.
        source: the file, for messages.
        image_hw: padded image size (height, width) in pixels, instead of what the test pipeline makes.

    Raises:
        ConfigError: something is missing, contradicts itself, or asks for what can't be honoured; names the file and
            the dotted key.
    """
    config = Section(content, source)
    model = as_original(config.section("model"), "BEVFormer")
    head = as_original(model.section("pts_bbox_head"), "BEVFormerHead")
    transformer = as_original(head.section("transformer"), "PerceptionTransformer")
    embed_dims = transformer.positive_int("embed_dims")
    class_names = config.texts("class_names")
    num_classes = head.positive_int("num_classes")
    if num_classes != len(class_names):
        raise head.error("num_classes", f"is {num_classes}, but class_names holds {len(class_names)} names")
    pc_range = config.box_range("point_cloud_range")

    backbone = _backbone(as_original(model.section("img_backbone"), "ResNet"))
    neck = _neck(as_original(model.section("img_neck"), "FPN"), backbone, embed_dims)
    num_cams = transformer.positive_int("num_cams", at_most=MAX_CAMERAS)
    encoder = _encoder(transformer, embed_dims, neck.num_outs, num_cams, pc_range)
    decoder = _decoder(transformer, embed_dims)
    bev_h, bev_w = _bev_size(head, embed_dims)
    num_query = head.positive_int("num_query")
    coder = as_original(head.section("bbox_coder"), "NMSFreeCoder")
    box_coder = read_box_coder(coder, pc_range=pc_range, num_query=num_query, num_classes=num_classes)
    _check_head(head, embed_dims)
    num_feature_levels = transformer.positive_int("num_feature_levels", at_most=MAX_LAYERS)
    if num_feature_levels < neck.num_outs:
        raise transformer.error("num_feature_levels", f"must be at least img_neck.num_outs, {neck.num_outs}")

    img_norm = read_image_norm(config.section("img_norm_cfg"))
    image = image_of_pipeline(config, img_norm) if image_hw is None else image_of_size(image_hw)
    center_x, center_y = transformer.numbers("rotate_center", 2)
    return ModelConfig(
        name=name,
        num_cams=num_cams,
        image_hw=image.image_hw,
        image_scale=image.image_scale,
        bev_h=bev_h,
        bev_w=bev_w,
        embed_dims=embed_dims,
        num_query=num_query,
        num_classes=num_classes,
        class_names=class_names,
        pc_range=pc_range,
        rotate_center=(center_x, center_y),
        rotate_prev_bev=transformer.boolean("rotate_prev_bev"),
        use_shift=transformer.boolean("use_shift"),
        use_can_bus=transformer.boolean("use_can_bus"),
        can_bus_norm=transformer.boolean("can_bus_norm"),
        use_cams_embeds=transformer.boolean("use_cams_embeds"),
        with_box_refine=head.boolean("with_box_refine"),
        num_feature_levels=num_feature_levels,
        num_reg_fcs=head.positive_int("num_reg_fcs", at_most=MAX_LAYERS),
        code_size=_CODE_SIZE,
        backbone=backbone,
        neck=neck,
        encoder=encoder,
        decoder=decoder,
        box_coder=box_coder,
        img_norm=img_norm,
    )


def _backbone(resnet: Section) -> BackboneConfig:
    base_channels = resnet.positive_int("base_channels", at_most=MAX_BASE_CHANNELS)
    if resnet.content.get("stem_channels") not in (None, base_channels):
        raise resnet.error("stem_channels", f"must equal base_channels, {base_channels}")
    norm = resnet.section("norm_cfg")
    if norm.text("type") not in _BATCH_NORMS or norm.content.keys() - {"type", "requires_grad"}:
        raise norm.error("type", f"and its settings: only {', '.join(_BATCH_NORMS)} without settings can be built")
    out_indices = resnet.integers("out_indices")
    if not out_indices or list(out_indices) != sorted(set(out_indices) & {0, 1, 2, 3}):
        raise resnet.error("out_indices", "must hold increasing stage numbers of 0, 1, 2, 3")
    stage_with_dcn = _stage_with_dcn(resnet)
    return BackboneConfig(
        depth=resnet.positive_int("depth"),
        style=cast(Literal["pytorch", "caffe"], resnet.text("style")),
        base_channels=base_channels,
        out_indices=out_indices,
        stage_with_dcn=stage_with_dcn,
        deform_groups=_deform_groups(resnet, base_channels, stage_with_dcn),
    )


def _stage_with_dcn(resnet: Section) -> tuple[bool, bool, bool, bool]:
    if resnet.content.get("dcn") is None:
        if "stage_with_dcn" in resnet and any(resnet.booleans("stage_with_dcn", 4)):
            raise resnet.error("dcn", "is missing, though stage_with_dcn asks for deformable convolutions; add it")
        return False, False, False, False
    as_original(resnet.section("dcn"), "DCNv2")
    first, second, third, fourth = resnet.booleans("stage_with_dcn", 4)
    return first, second, third, fourth


def _deform_groups(resnet: Section, base_channels: int, stage_with_dcn: tuple[bool, bool, bool, bool]) -> int:
    if not any(stage_with_dcn):
        return 1
    dcn = as_original(resnet.section("dcn"), "DCNv2")
    groups = dcn.positive_int("deform_groups")
    for stage, deforms in enumerate(stage_with_dcn):
        if deforms and base_channels * 2**stage % groups:
            raise dcn.error("deform_groups", f"is {groups}, which does not divide stage {stage}'s channels")
    return groups


def _neck(fpn: Section, backbone: BackboneConfig, embed_dims: int) -> NeckConfig:
    in_channels = fpn.integers("in_channels")
    expected = tuple(backbone.base_channels * 2**stage * _BOTTLENECK_EXPANSION for stage in backbone.out_indices)
    if in_channels != expected:
        raise fpn.error("in_channels", f"is {list(in_channels)}, but the backbone puts out {list(expected)}")
    num_outs = fpn.positive_int("num_outs", at_most=MAX_LAYERS)
    if num_outs < len(in_channels):
        raise fpn.error("num_outs", f"is {num_outs}, below the {len(in_channels)} outputs of the backbone")
    if num_outs > len(in_channels) and fpn.value("add_extra_convs") != "on_output":
        raise fpn.error("add_extra_convs", "must be 'on_output'; extra levels made otherwise are not supported")
    out_channels = fpn.positive_int("out_channels")
    fpn.check_equal("out_channels", out_channels, embed_dims, "transformer.embed_dims")
    return NeckConfig(in_channels, out_channels, num_outs, fpn.boolean("relu_before_extra_convs"))


def _encoder(
    transformer: Section,
    embed_dims: int,
    num_levels: int,
    num_cams: int,
    pc_range: tuple[float, float, float, float, float, float],
) -> EncoderConfig:
    encoder = as_original(transformer.section("encoder"), "BEVFormerEncoder")
    layer = as_original(encoder.section("transformerlayers"), "BEVFormerLayer")
    attentions = layer.sections("attn_cfgs", 2)
    temporal = as_original(attentions[0], "TemporalSelfAttention")
    spatial = as_original(attentions[1], "SpatialCrossAttention")
    deformable = as_original(spatial.section("deformable_attention"), "MSDeformableAttention3D")
    for section in (temporal, spatial, deformable):
        section.check_equal("embed_dims", section.positive_int("embed_dims"), embed_dims, "transformer.embed_dims")
    pillar_range = _pillar_range(encoder, pc_range)
    spatial.check_equal("pc_range", spatial.box_range("pc_range"), pillar_range, encoder.dotted("pc_range"))
    spatial.check_equal("num_cams", spatial.positive_int("num_cams"), num_cams, "transformer.num_cams")
    levels = deformable.positive_int("num_levels")
    deformable.check_equal("num_levels", levels, num_levels, "img_neck.num_outs")
    num_heads = _heads(temporal, embed_dims)
    deformable.check_equal("num_heads", _heads(deformable, embed_dims), num_heads, temporal.dotted("num_heads"))
    pillar_points = encoder.positive_int("num_points_in_pillar")
    spatial_points = deformable.positive_int("num_points")
    if spatial_points % pillar_points:
        raise deformable.error("num_points", f"must be a multiple of num_points_in_pillar, {pillar_points}")
    return EncoderConfig(
        num_layers=encoder.positive_int("num_layers", at_most=MAX_LAYERS),
        num_heads=num_heads,
        temporal_points=temporal.positive_int("num_points"),
        temporal_queues=temporal.positive_int("num_bev_queue"),
        pillar_points=pillar_points,
        spatial_points=spatial_points,
        spatial_levels=levels,
        feedforward_channels=_feedforward_channels(layer, embed_dims),
        pc_range=pillar_range,
    )


def _pillar_range(
    encoder: Section, pc_range: tuple[float, float, float, float, float, float]
) -> tuple[float, float, float, float, float, float]:
    """Return the range of the pillars: its ground is the head's, its heights are its own."""
    own = encoder.box_range("pc_range")
    if own[:2] + own[3:5] != pc_range[:2] + pc_range[3:5]:
        encoder.check_equal("pc_range", own, pc_range, "point_cloud_range")
    return own


def _decoder(transformer: Section, embed_dims: int) -> DecoderConfig:
    decoder = as_original(transformer.section("decoder"), "DetectionTransformerDecoder")
    layer = as_original(decoder.section("transformerlayers"), "DetrTransformerDecoderLayer")
    attentions = layer.sections("attn_cfgs", 2)
    self_attention = as_original(attentions[0], "MultiheadAttention")
    cross_attention = as_original(attentions[1], "CustomMSDeformableAttention")
    for section in (self_attention, cross_attention):
        section.check_equal("embed_dims", section.positive_int("embed_dims"), embed_dims, "transformer.embed_dims")
    num_heads = _heads(self_attention, embed_dims)
    cross_heads = _heads(cross_attention, embed_dims)
    cross_attention.check_equal("num_heads", cross_heads, num_heads, self_attention.dotted("num_heads"))
    return DecoderConfig(
        num_layers=decoder.positive_int("num_layers", at_most=MAX_LAYERS),
        num_heads=num_heads,
        num_points=cross_attention.positive_int("num_points"),
        feedforward_channels=_feedforward_channels(layer, embed_dims),
    )


def _heads(attention: Section, embed_dims: int) -> int:
    num_heads = attention.positive_int("num_heads")
    if embed_dims % num_heads:
        raise attention.error("num_heads", f"is {num_heads}, which does not divide embed_dims, {embed_dims}")
    return num_heads


def _feedforward_channels(layer: Section, embed_dims: int) -> int:
    if "ffn_cfgs" not in layer:
        return layer.positive_int("feedforward_channels")
    ffn = as_original(layer.section("ffn_cfgs"), "FFN")
    ffn.check_equal("embed_dims", ffn.positive_int("embed_dims"), embed_dims, "transformer.embed_dims")
    channels = ffn.positive_int("feedforward_channels")
    if "feedforward_channels" in layer:
        # Deprecated in mmcv's BaseTransformerLayer, which then sets ffn_cfgs by it.
        own = layer.positive_int("feedforward_channels")
        ffn.check_equal("feedforward_channels", channels, own, layer.dotted("feedforward_channels"))
    return channels


def _bev_size(head: Section, embed_dims: int) -> tuple[int, int]:
    bev_h, bev_w = head.positive_int("bev_h"), head.positive_int("bev_w")
    encoding = as_original(head.section("positional_encoding"), "LearnedPositionalEncoding")
    if 2 * encoding.positive_int("num_feats") != embed_dims:
        raise encoding.error("num_feats", f"must be half of embed_dims, {embed_dims}")
    encoding.check_equal("row_num_embed", encoding.positive_int("row_num_embed"), bev_h, head.dotted("bev_h"))
    encoding.check_equal("col_num_embed", encoding.positive_int("col_num_embed"), bev_w, head.dotted("bev_w"))
    return bev_h, bev_w


def _check_head(head: Section, embed_dims: int) -> None:
    head.check_equal("in_channels", head.positive_int("in_channels"), embed_dims, "transformer.embed_dims")
    if "loss_cls" not in head:
        return  # A checkpoint with a score for the background has other shapes, and is refused when it is loaded.
    loss = head.section("loss_cls")
    if not loss.boolean("use_sigmoid"):
        raise loss.error("use_sigmoid", "is False; a head that scores the background as a class is not supported")
