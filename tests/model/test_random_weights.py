from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bevformer_lib.export.clip import clip_frame
from bevformer_lib.model.bevformer import build_model
from bevformer_lib.model.random_weights import randomize
from tests.export.models import micro_base_config


@pytest.mark.parametrize("std", [(58.395, 57.12, 57.375), (1.0, 1.0, 1.0)])
def test_activations_are_of_order_one_whether_or_not_pictures_are_divided_by_their_spread(
    std: tuple[float, float, float],
) -> None:
    config = micro_base_config()
    config = replace(config, img_norm=replace(config.img_norm, std=std))
    model = build_model(config)
    randomize(model, seed=0)
    picture = torch.from_numpy(clip_frame(config, 0, seed=0).img[0, :1])
    with torch.inference_mode():
        stages = model.img_backbone(picture)
    assert all(0.1 < float(stage.std()) < 10 for stage in stages)
