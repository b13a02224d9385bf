from __future__ import annotations

import torch

from bevformer_lib.config.load import load_model_config
from bevformer_lib.model.bevformer import build_model
from bevformer_lib.model.sampling_reach import level_sizes, sampling_reach_images
from tests.export.models import MICRO_CONFIGS


def test_level_sizes_are_those_of_the_features() -> None:
    for make in MICRO_CONFIGS.values():
        model = build_model(make())
        with torch.no_grad():
            features = model.img_neck(model.img_backbone(torch.zeros(1, 3, *model.config.image_hw)))
        assert level_sizes(model) == [tuple(feature.shape[-2:]) for feature in features]


def test_reach_is_that_of_the_largest_offset() -> None:
    model = build_model(load_model_config("tiny"))
    for layer in model.pts_bbox_head.transformer.encoder.layers:
        offsets = layer.attentions[1].deformable_attention.sampling_offsets
        torch.nn.init.zeros_(offsets.weight)
        torch.nn.init.zeros_(offsets.bias)
    assert level_sizes(model) == [(15, 25)]
    with torch.no_grad():
        offsets.bias[3] = -12.0
    assert sampling_reach_images(model) == 1.0
    with torch.no_grad():
        offsets.bias[2] = -12.0
    assert sampling_reach_images(model) == 1.0
