from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bevformer_lib.scenes.meta import parse_meta
from bevformer_lib.scenes.reader import SceneRequirements
from tests.support.micro import micro_config
from tests.support.scenes import drive_can_bus, surround_lidar_to_image

REQUIREMENTS = SceneRequirements.of_model(micro_config())


def meta() -> dict[str, Any]:
    return {
        "num_cams": 6,
        "img_shape": [[96, 160, 3]] * 6,
        "img_norm_cfg": {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True},
        "lidar2img": surround_lidar_to_image((96, 160)).tolist(),
        "can_bus": drive_can_bus(1)[0].tolist(),
    }


def defects_of(content: dict[str, Any]) -> list[str]:
    parsed, defects = parse_meta(content, REQUIREMENTS)
    assert (parsed is None) == bool(defects)
    return defects


def test_only_lidar2img_and_can_bus_are_required():
    content = {key: meta()[key] for key in ("lidar2img", "can_bus")}
    parsed, defects = parse_meta(content, REQUIREMENTS)
    assert defects == []
    assert parsed is not None
    assert parsed.lidar_to_image.shape == (6, 4, 4)
    assert parsed.can_bus_absolute.dtype == np.float64
    assert (parsed.gt_boxes, parsed.timestamp_us, parsed.sample_token) == (None, None, None)


def test_null_says_no_more_than_a_missing_key():
    optional = ("gt_boxes", "timestamp", "sample_idx", "num_cams", "img_shape", "img_norm_cfg")
    parsed, defects = parse_meta(meta() | dict.fromkeys(optional), REQUIREMENTS)
    assert defects == []
    assert parsed is not None
    assert parsed.gt_boxes is None


def test_rounding_of_the_normalisation_to_single_precision_is_no_disagreement():
    content = meta()
    content["img_norm_cfg"]["mean"] = [float(np.float32(value)) for value in (123.675, 116.28, 103.53)]
    assert defects_of(content) == []


@pytest.mark.parametrize("key", ["can_bus", "lidar2img", "lidar2ego", "timestamp"])
@pytest.mark.parametrize("value", [1e300, -1e300, 2e9])
def test_numbers_beyond_sense(key: str, value: float):
    content = meta()
    if key == "can_bus":
        content[key][0] = value
    elif key == "lidar2img":
        content[key][0][0][0] = value
    elif key == "lidar2ego":
        content[key] = np.eye(4).tolist()
        content[key][0][3] = value
    else:
        content[key] = -abs(value) if value < 1e300 else value
    [defect] = defects_of(content)
    assert key in defect


@pytest.mark.parametrize(("stored", "microseconds"), [(1533151603547590, 1533151603547590), (1.5, 1_500_000)])
def test_timestamps(stored: float, microseconds: int):
    parsed, _ = parse_meta(meta() | {"timestamp": stored}, REQUIREMENTS)
    assert parsed is not None
    assert parsed.timestamp_us == microseconds


def remove(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.pop(key)


def put(value: object, *keys: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "defect"),
    [
        (remove("lidar2img"), "lacks `lidar2img`"),
        (remove("can_bus"), "lacks `can_bus`"),
        (put([0.0] * 17, "can_bus"), "can_bus has shape (17,); expected (18,)"),
        (put(["1"] * 18, "can_bus"), "can_bus holds something that is not a number"),
        (put(None, "can_bus", 4), "can_bus holds something that is not a number"),
        (put(math.inf, "can_bus", 17), "can_bus[17] is inf; it must be finite"),
        (put(math.nan, "lidar2img", 2, 1, 3), "lidar2img[2, 1, 3] is nan; it must be finite"),
        (put([[1.0] * 4] * 3, "lidar2img", 5), "lidar2img is ragged; expected numbers of shape (6, 4, 4)"),
        (put([[[1.0] * 4] * 4] * 5, "lidar2img"), "lidar2img has shape (5, 4, 4); expected (6, 4, 4)"),
        (put([[1.0] * 4] * 4, "lidar2img", 3), "lidar2img of camera 3 is singular; it projects nothing"),
        (put([0.0] * 4, "lidar2img", 0, 2), "lidar2img of camera 0 is singular; it projects nothing"),
        (
            put(-1000.0, "lidar2img", 1, 2, 3),
            "lidar2img of camera 1 puts everything within 61.2 m behind the camera",
        ),
        (put(5, "num_cams"), "num_cams is 5; the configuration has 6"),
        (put([[96, 160, 3]] * 5, "img_shape"), "img_shape must hold [height, width, 3] of 6 cameras"),
        (
            put([[96, 160, 3]] * 5 + [[90, 160, 3]], "img_shape"),
            "img_shape of camera 5 is [90, 160, 3]; the configuration asks for [96, 160, 3]",
        ),
        (
            put([103.53, 116.28, 123.675], "img_norm_cfg", "mean"),
            "img_norm_cfg.mean is [103.53, 116.28, 123.675]; the configuration has [123.675, 116.28, 103.53]",
        ),
        (put([1.0], "img_norm_cfg", "std"), "img_norm_cfg.std has shape (1,); expected (3,)"),
        (put(False, "img_norm_cfg", "to_rgb"), "img_norm_cfg.to_rgb is False; the configuration has True"),
        (put({}, "gt_boxes"), "gt_boxes must be a list of boxes, not dict"),
        (put([3], "bicycle_racks"), "bicycle_racks[0] must be an object, not int"),
        (put([[2.0] * 4] * 4, "lidar2ego"), "lidar2ego is not a rotation and a translation"),
        (put("noon", "timestamp"), "timestamp must be a number, not 'noon'"),
    ],
)
def test_a_defect_is_described(change: Callable[[dict[str, Any]], None], defect: str):
    content = meta()
    change(content)
    assert defects_of(content) == [defect]


def test_one_defect_does_not_hide_the_next():
    content = meta()
    content["can_bus"] = [0.0] * 17
    content["lidar2img"][1] = content["lidar2img"][4] = [[0.0] * 4] * 4
    content["num_cams"] = 7
    content["img_norm_cfg"] = {}
    assert defects_of(content) == [
        "lidar2img of camera 1 is singular; it projects nothing",
        "lidar2img of camera 4 is singular; it projects nothing",
        "can_bus has shape (17,); expected (18,)",
        "num_cams is 7; the configuration has 6",
        "lacks `img_norm_cfg.mean`",
        "lacks `img_norm_cfg.std`",
        "lacks `img_norm_cfg.to_rgb`",
    ]
