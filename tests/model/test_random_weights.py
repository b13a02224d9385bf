from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bevformer_lib.export.clip import clip_frame
from bevformer_lib.model.bevformer import build_model
from bevformer_lib.model.random_weights import CLASS_LOGIT_MEAN, REFINEMENT, randomize
from tests.export.models import micro_base_config
from tests.support.micro import micro_config


@pytest.mark.parametrize("std", [(58.395, 57.12, 57.375), (1.0, 1.0, 1.0)])
def test_activations_are_of_order_one_whether_or_not_images_are_divided_by_their_spread(
    std: tuple[float, float, float],
) -> None:
    config = micro_base_config()
    config = replace(config, img_norm=replace(config.img_norm, std=std))
    model = build_model(config)
    randomize(model, seed=0)
    image = torch.from_numpy(clip_frame(config, 0, seed=0).img[0, :1])
    with torch.inference_mode():
        stages = model.img_backbone(image)
    assert all(0.1 < float(stage.std()) < 10 for stage in stages)


@pytest.mark.parametrize("num_reg_fcs", [1, 2, 3])
def test_most_queries_are_background_and_boxes_move_little_whatever_the_depth_of_the_branches(num_reg_fcs: int) -> None:
    model = build_model(replace(micro_config(), num_reg_fcs=num_reg_fcs))
    randomize(model, seed=0)
    head = model.pts_bbox_head
    with torch.inference_mode():
        states = torch.randn(500, 32, generator=torch.Generator().manual_seed(0))
        logits = torch.stack([branch(states) for branch in head.cls_branches])
        codes = torch.stack([branch(states) for branch in head.reg_branches])
    assert float(logits.mean()) == pytest.approx(CLASS_LOGIT_MEAN, abs=0.5)
    moves, sizes = codes[..., [0, 1, 4]], codes[..., [2, 3, 5]]
    assert float(moves.std()) < 3 * REFINEMENT * float(sizes.std())
