"""What the original's classes take, and which of it this product can honour.

The tables follow the constructors of fundamentalvision/BEVFormer, mmcv 1.x and mmdet 2.x. A key that is in none of a
class's tables is refused: it may change the network in a way that nothing here reproduces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bevformer_lib.config.section import Section, shown


@dataclass(frozen=True)
class OriginalClass:
    """The keys of one class.

    Attributes:
        read: keys that the model config takes over.
        defaults: what the original's constructor takes for a key that is left out. The published configs leave these
            out, so they are facts of the model as much as what is written; there are no other defaults.
        only: keys with the values that are implemented; where the original takes another by default, ``defaults`` names
            it, so that leaving the key out is refused as well.
        ignored: keys that matter for training, memory or speed, but not for what the network computes.
    """

    read: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()


_ATTENTION_IGNORED: Final = frozenset({"dropout", "im2col_step"})
_LAYER_IGNORED: Final = frozenset({"ffn_dropout"})
_EVERYWHERE_IGNORED: Final = frozenset({"type", "init_cfg", "pretrained", "train_cfg", "test_cfg"})
_POST_NORM_ORDER: Final = ("self_attn", "norm", "cross_attn", "norm", "ffn", "norm")
_RELU: Final = ({"type": "ReLU", "inplace": True}, {"type": "ReLU"}, {"type": "ReLU", "inplace": False})
_LAYER_NORM: Final = ({"type": "LN"},)
_LAYER_ONLY: Final = {
    "operation_order": (_POST_NORM_ORDER,),
    "ffn_num_fcs": (2,),
    "act_cfg": _RELU,
    "norm_cfg": _LAYER_NORM,
}
_LAYER_DEFAULTS: Final = {"operation_order": None}
_ENCODER_AXES: Final = {"batch_first": (True,)}
_DECODER_AXES: Final = {"batch_first": (False,)}
"""Order of a layer's axes, batch and tokens. The original's encoder and decoder feed their layers in one order each; a
layer told otherwise mixes up the two or trips an assertion. The constructors' defaults do not count: a layer hands its
own order down to its attentions."""
_LAYER_READ: Final = frozenset({"attn_cfgs", "feedforward_channels", "ffn_cfgs"})

CLASSES: Final[Mapping[str, OriginalClass]] = {
    "BEVFormer": OriginalClass(
        read=frozenset({"img_backbone", "img_neck", "pts_bbox_head"}),
        defaults={"video_test_mode": False},
        only={
            "video_test_mode": (True,),
            "pts_voxel_layer": (None,),
            "pts_voxel_encoder": (None,),
            "pts_middle_encoder": (None,),
            "pts_fusion_layer": (None,),
            "pts_backbone": (None,),
            "pts_neck": (None,),
            "img_roi_head": (None,),
            "img_rpn_head": (None,),
        },
        ignored=frozenset({"use_grid_mask"}),
    ),
    "ResNet": OriginalClass(
        read=frozenset({"out_indices", "dcn", "stage_with_dcn", "norm_cfg", "stem_channels"}),
        defaults={"base_channels": 64},
        only={
            "depth": (50, 101),
            "style": ("pytorch", "caffe"),
            "num_stages": (4,),
            "in_channels": (3,),
            "strides": ((1, 2, 2, 2),),
            "dilations": ((1, 1, 1, 1),),
            "deep_stem": (False,),
            "avg_down": (False,),
            "conv_cfg": (None,),
            "plugins": (None,),
        },
        ignored=frozenset({"frozen_stages", "norm_eval", "with_cp", "zero_init_residual"}),
    ),
    "DCNv2": OriginalClass(defaults={"deform_groups": 1}, only={"fallback_on_stride": (False,)}),
    "FPN": OriginalClass(
        read=frozenset({"in_channels", "out_channels", "num_outs", "add_extra_convs"}),
        defaults={"relu_before_extra_convs": False},
        only={
            "start_level": (0,),
            "end_level": (-1,),
            "no_norm_on_lateral": (False, True),
            "conv_cfg": (None,),
            "norm_cfg": (None,),
            "act_cfg": (None,),
            "upsample_cfg": ({"mode": "nearest"},),
        },
    ),
    "BEVFormerHead": OriginalClass(
        read=frozenset(
            {
                "bev_h",
                "bev_w",
                "num_query",
                "num_classes",
                "in_channels",
                "with_box_refine",
                "transformer",
                "bbox_coder",
                "positional_encoding",
                "loss_cls",
            }
        ),
        defaults={"num_reg_fcs": 2},
        only={"as_two_stage": (False,), "code_size": (10,)},
        ignored=frozenset({"sync_cls_avg_factor", "loss_bbox", "loss_iou", "code_weights", "num_cls_fcs"}),
    ),
    "PerceptionTransformer": OriginalClass(
        read=frozenset({"embed_dims", "encoder", "decoder"}),
        defaults={
            "num_feature_levels": 4,
            "num_cams": 6,
            "rotate_prev_bev": True,
            "use_shift": True,
            "use_can_bus": True,
            "can_bus_norm": True,
            "use_cams_embeds": True,
            "rotate_center": (100, 100),
        },
        ignored=frozenset({"two_stage_num_proposals"}),
    ),
    "BEVFormerEncoder": OriginalClass(
        read=frozenset({"num_layers", "pc_range", "transformerlayers"}),
        defaults={"num_points_in_pillar": 4},
        only={"return_intermediate": (False,), "dataset_type": ("nuscenes",)},
    ),
    "BEVFormerLayer": OriginalClass(
        read=_LAYER_READ,
        defaults=_LAYER_DEFAULTS,
        only={**_LAYER_ONLY, **_ENCODER_AXES},
        ignored=_LAYER_IGNORED,
    ),
    "TemporalSelfAttention": OriginalClass(
        defaults={"embed_dims": 256, "num_heads": 8, "num_points": 4, "num_levels": 4, "num_bev_queue": 2},
        only={"num_levels": (1,), "num_bev_queue": (2,), "norm_cfg": (None,), **_ENCODER_AXES},
        ignored=_ATTENTION_IGNORED,
    ),
    "SpatialCrossAttention": OriginalClass(
        read=frozenset({"pc_range", "deformable_attention"}),
        defaults={"embed_dims": 256, "num_cams": 6},
        only=_ENCODER_AXES,
        ignored=_ATTENTION_IGNORED,
    ),
    "MSDeformableAttention3D": OriginalClass(
        defaults={"embed_dims": 256, "num_heads": 8, "num_points": 8, "num_levels": 4},
        only={"norm_cfg": (None,), **_ENCODER_AXES},
        ignored=_ATTENTION_IGNORED,
    ),
    "DetectionTransformerDecoder": OriginalClass(
        read=frozenset({"num_layers", "transformerlayers"}),
        defaults={"return_intermediate": False},
        only={"return_intermediate": (True,)},
    ),
    "DetrTransformerDecoderLayer": OriginalClass(
        read=_LAYER_READ,
        defaults=_LAYER_DEFAULTS,
        only={**_LAYER_ONLY, **_DECODER_AXES},
        ignored=_LAYER_IGNORED,
    ),
    "MultiheadAttention": OriginalClass(
        read=frozenset({"embed_dims", "num_heads"}),
        only={
            "bias": (True,),
            "add_bias_kv": (False,),
            "add_zero_attn": (False,),
            "kdim": (None,),
            "vdim": (None,),
            **_DECODER_AXES,
        },
        ignored=_ATTENTION_IGNORED | {"attn_drop", "proj_drop", "dropout_layer"},
    ),
    "CustomMSDeformableAttention": OriginalClass(
        defaults={"embed_dims": 256, "num_heads": 8, "num_points": 4, "num_levels": 4},
        only={"num_levels": (1,), "norm_cfg": (None,), **_DECODER_AXES},
        ignored=_ATTENTION_IGNORED,
    ),
    "FFN": OriginalClass(
        read=frozenset({"embed_dims", "feedforward_channels"}),
        only={"num_fcs": (2,), "act_cfg": _RELU, "add_identity": (True,)},
        ignored=frozenset({"ffn_drop", "dropout_layer"}),
    ),
    "NMSFreeCoder": OriginalClass(
        read=frozenset({"pc_range", "post_center_range", "max_num", "num_classes"}),
        defaults={"score_threshold": None},
        ignored=frozenset({"voxel_size"}),
    ),
    "LearnedPositionalEncoding": OriginalClass(
        read=frozenset({"num_feats", "row_num_embed", "col_num_embed"}),
    ),
}
"""Name of an original class -> its keys."""


_SAME_NETWORKS: Final[Mapping[str, str]] = {"BEVFormer_fp16": "BEVFormer"}
"""Class that differs in training alone -> the class whose network it is."""

_DERIVED_MODELS: Final = frozenset({"BEVFormerV2", "MapTR", "MapTRv2", "UniAD", "VAD", "VADv2"})


def as_original(section: Section, name: str) -> Section:
    """Return ``section`` with the constructor's defaults filled in, as the original class ``name`` gets it.

    Raises:
        ConfigError: it describes another class, has a key that is not known, or a value that is not implemented.
    """
    declared = section.text("type")
    if _SAME_NETWORKS.get(declared, declared) != name:
        if declared in _DERIVED_MODELS:
            what = f"is {declared!r}, a model built on BEVFormer with modules and outputs of its own"
            raise section.error("type", f"{what}; only BEVFormer itself can be built here")
        raise section.error("type", f"is {declared!r}; only {name} can be built here")
    known = CLASSES[name]
    content = {**known.defaults, **section.content}
    understood = known.read | known.defaults.keys() | known.only.keys() | known.ignored | _EVERYWHERE_IGNORED
    for key, value in content.items():
        if key not in understood:
            raise section.error(
                key, f"is not a key of {name} that can be honoured; remove it or use a published variant"
            )
        if key in known.only and _plain(value) not in [_plain(allowed) for allowed in known.only[key]]:
            supported = " or ".join(repr(allowed) for allowed in known.only[key])
            given = (
                f"is {shown(value)}"
                if key in section.content
                else f"is left out, which means {value!r} in the original"
            )
            raise section.error(key, f"{given}; only {supported} is supported")
    return Section(content, section.source, section.path)


def _plain(value: Any) -> Any:
    """Return ``value`` with lists as tuples, since JSON knows no tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    return value
