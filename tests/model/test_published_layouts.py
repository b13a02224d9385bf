"""The state dicts of the three published checkpoints: how many tensors and values, and what some of them are called."""

from __future__ import annotations

import pytest
import torch

from bevformer_lib.config.presets import PRESETS
from bevformer_lib.model.bevformer import build_model

_TRANSFORMER = "pts_bbox_head.transformer"
_SPATIAL_OFFSETS = f"{_TRANSFORMER}.encoder.layers.{{}}.attentions.1.deformable_attention.sampling_offsets.weight"


def layout(name: str) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {key: tensor.shape for key, tensor in build_model(PRESETS[name]).state_dict().items()}


@pytest.mark.parametrize(
    ("name", "tensors", "million_values"), [("tiny", 643, 33.6), ("small", 1001, 59.6), ("base", 1089, 69.1)]
)
def test_counts(name: str, tensors: int, million_values: float) -> None:
    shapes = layout(name)
    assert len(shapes) == tensors
    assert sum(shape.numel() for shape in shapes.values()) / 1e6 == pytest.approx(million_values, abs=0.05)


@pytest.mark.parametrize("name", list(PRESETS))
def test_names_that_all_three_share(name: str) -> None:
    shapes, config = layout(name), PRESETS[name]
    expected = {
        "pts_bbox_head.code_weights": (10,),
        "pts_bbox_head.bev_embedding.weight": (config.bev_h * config.bev_w, 256),
        "pts_bbox_head.query_embedding.weight": (900, 512),
        "pts_bbox_head.positional_encoding.row_embed.weight": (config.bev_h, 128),
        "pts_bbox_head.cls_branches.5.6.weight": (10, 256),
        "pts_bbox_head.reg_branches.5.4.bias": (10,),
        f"{_TRANSFORMER}.level_embeds": (4, 256),
        f"{_TRANSFORMER}.cams_embeds": (6, 256),
        f"{_TRANSFORMER}.can_bus_mlp.norm.weight": (256,),
        f"{_TRANSFORMER}.encoder.layers.0.attentions.0.sampling_offsets.weight": (128, 512),
        f"{_TRANSFORMER}.decoder.layers.5.attentions.0.attn.in_proj_weight": (768, 256),
        f"{_TRANSFORMER}.decoder.layers.5.ffns.0.layers.0.0.weight": (512, 256),
        "img_backbone.bn1.num_batches_tracked": (),
    }
    assert {key: tuple(shapes[key]) for key in expected} == expected


@pytest.mark.parametrize(("name", "layers", "levels"), [("tiny", 3, 1), ("small", 3, 1), ("base", 6, 4)])
def test_spatial_offsets_of_every_layer_and_level(name: str, layers: int, levels: int) -> None:
    shapes = layout(name)
    for layer in range(layers):
        assert shapes[_SPATIAL_OFFSETS.format(layer)] == (8 * levels * 8 * 2, 256)
    assert _SPATIAL_OFFSETS.format(layers) not in shapes


@pytest.mark.parametrize(("name", "deformable"), [("tiny", False), ("small", True), ("base", True)])
def test_deformable_convolutions_stand_in_the_last_two_stages(name: str, deformable: bool) -> None:
    shapes = layout(name)
    blocks = {key.split(".conv2.")[0] for key in shapes if ".conv2.conv_offset." in key}
    expected = [*(f"img_backbone.layer3.{i}" for i in range(23)), *(f"img_backbone.layer4.{i}" for i in range(3))]
    assert blocks == (set(expected) if deformable else set())
    if deformable:
        assert shapes["img_backbone.layer4.2.conv2.conv_offset.weight"] == (27, 512, 3, 3)


def test_the_neck_of_base_makes_an_extra_level() -> None:
    shapes = layout("base")
    laterals = [shapes[f"img_neck.lateral_convs.{i}.conv.weight"] for i in range(3)]
    assert laterals == [(256, 512, 1, 1), (256, 1024, 1, 1), (256, 2048, 1, 1)]
    assert shapes["img_neck.fpn_convs.3.conv.weight"] == (256, 256, 3, 3)
