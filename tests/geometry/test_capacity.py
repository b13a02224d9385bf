from __future__ import annotations

import json

import numpy as np
import pytest

from bevformer_lib.errors import RigError
from bevformer_lib.geometry.capacity import CAPACITY_KEY, CameraCapacity, RigProof
from bevformer_lib.geometry.pillars import PillarGrid
from tests.support.micro import micro_config
from tests.support.scenes import rig_lidar_to_image

GRID = PillarGrid.of(micro_config())
RIG = rig_lidar_to_image(GRID.image_hw).astype(np.float32)


def test_metadata_there_and_back() -> None:
    capacity = CameraCapacity(2, GRID)
    assert CameraCapacity.from_metadata({"other": "x", **capacity.to_metadata()}, source="m.onnx") == capacity
    assert CameraCapacity.from_metadata({"other": "x"}, source="m.onnx") is None


@pytest.mark.parametrize("damage", ["no json", "[]", "{}", json.dumps({"cameras_per_cell": 2, "pc_range": [1, 2]})])
def test_damaged_metadata_names_file_and_entry(damage: str) -> None:
    with pytest.raises(RigError, match=r"m\.onnx: its metadata entry bevformer\.camera_capacity is damaged"):
        CameraCapacity.from_metadata({CAPACITY_KEY: damage}, source="m.onnx")


def test_a_rig_that_fits_is_proven_once(monkeypatch: pytest.MonkeyPatch) -> None:
    proof = RigProof(CameraCapacity(2, GRID))
    proof.require(RIG, frame="scene-1/meta_000000.json")
    monkeypatch.setattr("bevformer_lib.geometry.capacity.cameras_per_cell", None)
    proof.require(RIG.copy(), frame="scene-1/meta_000001.json")
    with pytest.raises(TypeError):
        proof.require(RIG * 1.5, frame="scene-1/meta_000002.json")


def test_a_rig_that_needs_more_is_an_error_that_says_what_to_do() -> None:
    proof = RigProof(CameraCapacity(1, GRID))
    with pytest.raises(
        RigError, match=r"scene-1/meta_000003\.json: .* \(2\) than .* \(1 per cell\).*--cameras-per-cell 2"
    ):
        proof.require(RIG, frame="scene-1/meta_000003.json")
