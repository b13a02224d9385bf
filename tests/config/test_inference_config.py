"""The published inference config, written and read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bevformer_lib.config.camera_capacity import CameraCapacity, PillarGrid
from bevformer_lib.config.inference_config import (
    inference_config_of,
    read_inference_config,
    write_inference_config,
)
from bevformer_lib.config.presets import PRESETS
from bevformer_lib.errors import ConfigError
from tests.config.support import at
from tests.support.micro import micro_config

REMOVED = object()


def _content(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "written.json"
    write_inference_config(inference_config_of(PRESETS["tiny"]), path)
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_tiny_has_exactly_the_published_content(tmp_path: Path) -> None:
    pc_range = [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]
    names = "car truck construction_vehicle bus trailer barrier motorcycle bicycle pedestrian traffic_cone"
    assert _content(tmp_path) == {
        "model": {
            "bev_h": 50,
            "bev_w": 50,
            "num_query": 900,
            "num_classes": 10,
            "transformer": {"embed_dims": 256, "bev_h": 50, "bev_w": 50},
            "bbox_coder": {
                "pc_range": pc_range,
                "post_center_range": [-61.2, -61.2, -10.0, 61.2, 61.2, 10.0],
                "max_num": 300,
                "num_classes": 10,
            },
        },
        "img_norm": {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True},
        "point_cloud_range": pc_range,
        "dataset": {"class_names": names.split()},
    }


@pytest.mark.parametrize("score_threshold", [None, 0.3])
def test_round_trip(tmp_path: Path, score_threshold: float | None) -> None:
    model = micro_config()
    model = replace(model, box_coder=replace(model.box_coder, score_threshold=score_threshold))
    path = tmp_path / "Ordner mit ä" / "inference_config.json"
    config = inference_config_of(model)
    write_inference_config(config, path)
    assert read_inference_config(path) == config
    assert ("score_threshold" in path.read_text(encoding="utf-8")) is (score_threshold is not None)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_room_for_cameras_goes_there_and_back(tmp_path: Path) -> None:
    model, path = micro_config(), tmp_path / "inference_config.json"
    config = inference_config_of(model, CameraCapacity(2, PillarGrid.of(model)))
    write_inference_config(config, path)
    assert read_inference_config(path) == config
    assert json.loads(path.read_text())["camera_capacity"]["cameras_per_query"] == 2


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cameras_per_query", REMOVED, "camera_capacity.cameras_per_query is missing"),
        ("cameras_per_query", 0, "camera_capacity.cameras_per_query must be a whole number of at least 1"),
        ("bev_h", 60, "camera_capacity.bev_h is 60, but model.bev_h is 10"),
        ("image_hw", "96x160", "camera_capacity.image_hw must be a list"),
    ],
)
def test_a_damaged_room_names_file_and_key(tmp_path: Path, key: str, value: object, message: str) -> None:
    model, path = micro_config(), tmp_path / "bad.json"
    write_inference_config(inference_config_of(model, CameraCapacity(2, PillarGrid.of(model))), path)
    content = json.loads(path.read_text())
    if value is REMOVED:
        del content["camera_capacity"][key]
    else:
        content["camera_capacity"][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=rf"^{path}: {message}"):
        read_inference_config(path)


def test_other_keys_are_left_alone(tmp_path: Path) -> None:
    content = _content(tmp_path)
    content["model"]["video_test_mode"] = True
    content["dataset"]["type"] = "NuScenes"
    content["version"] = 3
    path = tmp_path / "vendor.json"
    path.write_text(json.dumps(content))
    assert read_inference_config(path) == inference_config_of(PRESETS["tiny"])


@pytest.mark.parametrize(
    ("dotted", "value", "message"),
    [
        ("model", REMOVED, "model is missing"),
        ("model.bev_h", REMOVED, "model.bev_h is missing"),
        ("model.bev_w", REMOVED, "model.bev_w is missing"),
        ("model.num_query", REMOVED, "model.num_query is missing"),
        ("model.num_classes", REMOVED, "model.num_classes is missing"),
        ("model.transformer", REMOVED, "model.transformer is missing"),
        ("model.transformer.embed_dims", REMOVED, "model.transformer.embed_dims is missing"),
        ("model.bbox_coder.max_num", REMOVED, "model.bbox_coder.max_num is missing"),
        ("img_norm.to_rgb", REMOVED, "img_norm.to_rgb is missing"),
        ("point_cloud_range", REMOVED, "point_cloud_range is missing"),
        ("dataset.class_names", REMOVED, "dataset.class_names is missing"),
        ("model.bev_h", "50", "model.bev_h must be a whole number of at least 1, not '50'"),
        ("model.bev_h", 60, "model.transformer.bev_h is 50, but model.bev_h is 60"),
        ("model.transformer.bev_w", 49, "model.transformer.bev_w is 49, but model.bev_w is 50"),
        ("model.bbox_coder.num_classes", 9, "model.bbox_coder.num_classes is 9, but"),
        ("model.bbox_coder.score_threshold", "low", "score_threshold must be a finite number"),
        ("model.bbox_coder.pc_range", [0, 0, 0, 1, 1, 1], "model.bbox_coder.pc_range is"),
        ("model.bbox_coder.max_num", 10_000, "max_num is 10000, above the 9000"),
        ("dataset.class_names", ["car"], "model.num_classes is 10, but the number of dataset.class_names is 1"),
        ("dataset.class_names", [1] * 10, "dataset.class_names must be a list of texts"),
        ("img_norm.mean", [1, 2], "img_norm.mean must hold 3 values, not 2"),
        ("img_norm.mean", [1, 2, float("nan")], "holds NaN"),
        ("img_norm.mean", [1, 2, None], "img_norm.mean must hold 3 finite numbers"),
        ("img_norm.std", [1, 0, 1], "img_norm.std must hold three numbers above 0"),
        ("img_norm.to_rgb", "yes", "img_norm.to_rgb must be true or false"),
        ("model.transformer", 7, "model.transformer must be a dict, not 7"),
    ],
)
def test_defect_names_file_and_key(tmp_path: Path, dotted: str, value: object, message: str) -> None:
    content = _content(tmp_path)
    *parents, last = dotted.split(".")
    if value is REMOVED:
        del at(content, parents)[last]
    else:
        at(content, parents)[last] = value
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=rf"^{path}: .*{message}"):
        read_inference_config(path)


def test_overflowing_number(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(_content(tmp_path)).replace("123.675", "1e999"))
    with pytest.raises(ConfigError, match=r"img_norm\.mean must hold 3 finite numbers"):
        read_inference_config(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.json: no such file"):
        read_inference_config(tmp_path / "gone.json")


def test_what_is_no_inference_config_is_answered_with_where_one_comes_from(tmp_path: Path) -> None:
    original = tmp_path / "original.py"
    original.write_text("model = dict()\n")
    with pytest.raises(
        ConfigError, match=r"original\.py: is not valid JSON.*line 1.*that 'bevformer extract-config' writes"
    ):
        read_inference_config(original)
    with pytest.raises(ConfigError, match=r"is a folder.*'bevformer extract-config'"):
        read_inference_config(tmp_path)
