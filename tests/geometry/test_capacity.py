from __future__ import annotations

import json

import numpy as np
import pytest

from bevformer_lib.config.camera_capacity import CAPACITY_KEY, CameraCapacity, PillarGrid
from bevformer_lib.errors import CameraCalibrationError
from bevformer_lib.geometry.capacity import CapacityCheck
from tests.support.micro import micro_config
from tests.support.scenes import surround_lidar_to_image

GRID = PillarGrid.of(micro_config())
RIG = surround_lidar_to_image(GRID.image_hw).astype(np.float32)


def test_metadata_there_and_back() -> None:
    capacity = CameraCapacity(2, GRID)
    assert CameraCapacity.from_metadata({"other": "x", **capacity.to_metadata()}, source="m.onnx") == capacity
    assert CameraCapacity.from_metadata({"other": "x"}, source="m.onnx") is None


@pytest.mark.parametrize(
    "damage", ["no json", "[]", "{}", "[" * 100_000, json.dumps({"cameras_per_query": 2, "pc_range": [1, 2]})]
)
def test_damaged_metadata_names_file_and_entry(damage: str) -> None:
    with pytest.raises(
        CameraCalibrationError, match=r"m\.onnx: its metadata entry bevformer\.camera_capacity is damaged"
    ):
        CameraCapacity.from_metadata({CAPACITY_KEY: damage}, source="m.onnx")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cameras_per_query", 0, "cameras_per_query must be a whole number of at least 1, not 0"),
        ("cameras_per_query", 2.5, "cameras_per_query must be a whole number of at least 1, not 2.5"),
        ("bev_h", -3, "bev_h must be a whole number of at least 1, not -3"),
        ("bev_w", 1 << 21, "bev_w is larger than 1048576"),
        ("pillar_points", 0, "pillar_points must be a whole number of at least 1, not 0"),
        ("pillar_points", 1 << 20, "pillar_points is 1048576; no model has more than 256"),
        ("image_hw", [96, 0], "image_hw must be a height and a width"),
        ("image_hw", [96], "image_hw must be a height and a width"),
        ("pc_range", [0, 0, 0, 0, 1, 1], "pc_range must be three minima"),
        ("pc_range", [0, 0, 0, "1", 1, 1], "pc_range must hold 6 finite numbers"),
    ],
)
def test_sizes_that_no_model_has_are_damage(key: str, value: object, message: str) -> None:
    content = {**CameraCapacity(2, GRID).to_dict(), key: value}
    with pytest.raises(
        CameraCalibrationError, match=rf"m\.onnx: its metadata entry .* is damaged: {message}.*; export it again$"
    ):
        CameraCapacity.from_metadata({CAPACITY_KEY: json.dumps(content)}, source="m.onnx")


def test_a_rig_that_fits_is_proven_once(monkeypatch: pytest.MonkeyPatch) -> None:
    check = CapacityCheck(CameraCapacity(2, GRID))
    check.require(RIG, frame="scene-1/meta_000000.json")
    monkeypatch.setattr("bevformer_lib.geometry.capacity.cameras_per_query", None)
    check.require(RIG.copy(), frame="scene-1/meta_000001.json")
    with pytest.raises(TypeError):
        check.require(RIG * 1.5, frame="scene-1/meta_000002.json")


def test_a_rig_that_needs_more_is_an_error_that_says_what_to_do() -> None:
    check = CapacityCheck(CameraCapacity(1, GRID))
    with pytest.raises(
        CameraCalibrationError,
        match=r"scene-1/meta_000003\.json: .* \(2\) than .* \(1 per cell\).*--cameras-per-query 2",
    ):
        check.require(RIG, frame="scene-1/meta_000003.json")


def test_infinity_is_damage() -> None:
    damaged = {**CameraCapacity(2, GRID).to_dict(), "pc_range": [0, 0, 0, float("inf"), 1, 1]}
    with pytest.raises(CameraCalibrationError, match="every number must be finite"):
        CameraCapacity.from_metadata({CAPACITY_KEY: json.dumps(damaged)}, source="m.onnx")
