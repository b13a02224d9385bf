"""Whatever names a model config."""

from __future__ import annotations

from pathlib import Path

import pytest

from bevformer_lib.config.load import load_model_config
from bevformer_lib.config.model_config import BackboneConfig, NeckConfig
from bevformer_lib.errors import ConfigError
from tests.config.support import FIXTURES
from tests.support.data import requires_shared_data, shared_data
from tests.support.micro import micro_config


def test_preset_with_another_image_size() -> None:
    model = load_model_config("tiny", image_hw=(256, 448))
    assert (model.image_hw, model.image_scale) == ((256, 448), 0.28)
    assert load_model_config("small", image_hw=(736, 1280)) is load_model_config("small")


def test_file_with_another_image_size() -> None:
    path = FIXTURES / "bevformer" / "tiny.py"
    assert load_model_config(str(path), image_hw=(256, 448)).image_hw == (256, 448)


@pytest.mark.parametrize("source", ["large", "Tiny", "", "config.yaml", "."])
def test_unknown_name_lists_what_is_accepted(source: str) -> None:
    with pytest.raises(ConfigError, match=r"use a preset \(tiny, small, base, demo\), .*\.py.*\.json"):
        load_model_config(source)


@requires_shared_data
def test_golden_tiny_is_the_micro_config_of_the_tests() -> None:
    model = load_model_config(str(shared_data() / "golden" / "micro_tiny.json"), image_hw=(96, 160))
    assert model.name == "micro_tiny"
    assert model.digest() == micro_config().digest()


@requires_shared_data
def test_golden_small() -> None:
    model = load_model_config(str(shared_data() / "golden" / "micro_small.json"), image_hw=(96, 160))
    assert (model.bev_h, model.bev_w, model.rotate_center) == (11, 9, (3.0, 7.0))
    assert model.backbone == BackboneConfig(50, "caffe", 6, (3,), (False, False, True, True))
    assert model.pc_range == model.encoder.pc_range == (-48.0, -40.0, -5.0, 51.2, 44.8, 3.0)
    assert model.box_coder.post_center_range == (-40.0, -36.0, -4.5, 44.0, 38.0, 2.5)
    assert (model.box_coder.max_num, model.box_coder.score_threshold) == (60, None)
    assert (model.img_norm.std, model.img_norm.to_rgb) == ((1.0, 1.0, 1.0), False)


@requires_shared_data
def test_golden_base() -> None:
    model = load_model_config(str(shared_data() / "golden" / "micro_base.json"), image_hw=(96, 160))
    assert (model.bev_h, model.bev_w, model.rotate_center) == (12, 14, (100.0, 100.0))
    assert model.neck == NeckConfig((48, 96, 192), 32, 4, relu_before_extra_convs=True)
    assert model.backbone.out_indices == (1, 2, 3)
    assert (model.encoder.spatial_levels, model.encoder.spatial_points, model.num_feature_levels) == (4, 8, 4)
    assert (model.box_coder.max_num, model.box_coder.score_threshold) == (40, 0.3)


@requires_shared_data
def test_golden_without_image_size() -> None:
    with pytest.raises(ConfigError, match=r"micro_tiny\.json: has no data\.test\.pipeline.*--image-size"):
        load_model_config(str(shared_data() / "golden" / "micro_tiny.json"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"some\.json: is not valid JSON: .*line 1 column 2"),
        ("[]", "must hold a JSON object, not a list"),
        ('{"a": NaN}', "holds NaN"),
        ('{"a": -Infinity}', "holds -Infinity"),
        ("[" * 100_000, "nested deeper than 100 levels"),
        ('{"a": ' + "[" * 200 + "]" * 200 + "}", "nested deeper than 100 levels"),
        ('{"a": ' + "9" * 5000 + "}", "is not valid JSON"),
        ("{}", "model is missing"),
    ],
)
def test_json_that_is_no_config(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "some.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_model_config(str(path))
