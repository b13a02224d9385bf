"""Configs whose every number is sensible, but whose model would fill the memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bevformer_lib.config.load import load_model_config
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.config.presets import PRESETS
from bevformer_lib.config.sizes import check_sizes
from bevformer_lib.errors import ConfigError
from tests.config.support import at, tiny_content

HEAD = "model.pts_bbox_head"
ENCODER, DECODER = f"{HEAD}.transformer.encoder", f"{HEAD}.transformer.decoder"
LARGE = 1 << 20


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)
def test_published_models_may_grow_several_times(config: ModelConfig) -> None:
    check_sizes(replace(config, bev_h=2 * config.bev_h, bev_w=2 * config.bev_w, num_query=4000, num_cams=12), "x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bev_h": LARGE, "bev_w": LARGE}, rf"{HEAD}\.bev_h x bev_w is 1048576 x 1048576, above 262144 in all"),
        ({"bev_h": 500, "bev_w": 500, "embed_dims": 4096}, r"bev_w x transformer\.embed_dims is 500 x 500 x 4096"),
        ({"num_query": LARGE}, rf"{HEAD}\.num_query x transformer\.embed_dims is 1048576 x 256"),
        ({"num_query": 50_000}, rf"{DECODER}: num_query squared x num_heads is 50000 x 50000 x 8"),
        ({"image_hw": (99_999, 99_999)}, r"the image's height x width is 99999 x 99999"),
        ({"image_hw": (4000, 4000), "num_cams": 40}, r"num_cams x .*base_channels is 4000 x 4000 x 40 x 64"),
        ({"num_reg_fcs": 64, "embed_dims": 2048}, rf"{DECODER}\.num_layers x .*embed_dims squared is 6 x 64 x 2048"),
        ({"encoder.feedforward_channels": LARGE}, rf"{ENCODER}\..* x feedforward_channels is 3 x 256 x 1048576"),
        ({"encoder.spatial_points": LARGE}, rf"{ENCODER}\..*num_points x num_levels is 3 x 256 x 8 x 1048576"),
        ({"encoder.pillar_points": LARGE}, rf"{ENCODER}: .*num_points_in_pillar x num_cams is 50 x 50 x 1048576 x 6"),
        ({"decoder.num_points": LARGE}, rf"{DECODER}\..*num_heads x num_points is 6 x 256 x 8 x 1048576"),
    ],
)
def test_a_product_that_no_model_needs_is_named(changes: dict[str, Any], message: str) -> None:
    config = PRESETS["tiny"]
    for dotted, value in changes.items():
        section, _, key = dotted.rpartition(".")
        config = replace(config, **{section: replace(getattr(config, section), **{key: value})} if section else changes)
    with pytest.raises(ConfigError, match=rf"^some\.py: .*{message}"):
        check_sizes(config, "some.py")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {
                f"{HEAD}.bev_h": LARGE,
                f"{HEAD}.bev_w": LARGE,
                f"{HEAD}.positional_encoding.row_num_embed": LARGE,
                f"{HEAD}.positional_encoding.col_num_embed": LARGE,
            },
            rf"{HEAD}\.bev_h x bev_w is 1048576 x 1048576",
        ),
        ({f"{ENCODER}.num_layers": 1_000_000}, rf"{ENCODER}\.num_layers is larger than 64"),
        ({f"{DECODER}.num_layers": 1_000_000}, rf"{DECODER}\.num_layers is larger than 64"),
        ({f"{HEAD}.num_reg_fcs": 1_000_000}, rf"{HEAD}\.num_reg_fcs is larger than 64"),
        ({f"{HEAD}.transformer.num_feature_levels": 1_000_000}, r"num_feature_levels is larger than 64"),
        ({f"{HEAD}.transformer.num_cams": 1_000_000}, r"num_cams is larger than 64"),
        ({"model.img_neck.num_outs": 1_000_000}, r"model\.img_neck\.num_outs is larger than 64"),
        ({"model.img_backbone.base_channels": 1_000_000}, r"img_backbone\.base_channels is larger than 256"),
    ],
)
def test_an_absurd_file_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    content = tiny_content()
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        at(content, parents)[last] = value
    path = tmp_path / "absurd.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=rf"^{path}: .*{message}"):
        load_model_config(str(path))


def test_a_preset_with_an_absurd_image_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^tiny: the image's height x width is 99999 x 99999"):
        load_model_config("tiny", image_hw=(99_999, 99_999))
