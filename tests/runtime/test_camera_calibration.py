from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bevformer_lib.config.camera_capacity import CameraCapacity, PillarGrid
from bevformer_lib.errors import CameraCalibrationError
from bevformer_lib.export.intermediates_runtime import IntermediatesRuntime
from bevformer_lib.runtime.camera_calibration import camera_capacity_of
from bevformer_lib.runtime.recorded import RecordingRuntime
from tests.support.fake_runtime import MICRO_INPUTS, MICRO_OUTPUTS, FakeRuntime, counting_runtime
from tests.support.micro import micro_config

GRID = replace(PillarGrid.of(micro_config()), bev_h=2, bev_w=3, image_hw=(8, 16))
OWN, STATED = CameraCapacity(2, GRID), CameraCapacity(3, GRID)


def runtime_with(metadata: Mapping[str, str]) -> FakeRuntime:
    return FakeRuntime(MICRO_INPUTS, MICRO_OUTPUTS, counting_runtime().run, metadata=metadata)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (OWN.to_metadata(), OWN),
        ({}, STATED),
        ({"onnx.infer": "a tool that dropped the rest"}, STATED),
        ({"bevformer.checkpoint_sha256": "of a graph in the dense form"}, None),
    ],
)
def test_the_config_speaks_where_the_model_can_not(
    metadata: Mapping[str, str], expected: CameraCapacity | None
) -> None:
    assert camera_capacity_of(runtime_with(metadata), STATED) == expected


def test_what_stands_around_a_runtime_passes_its_metadata_on(tmp_path: Path) -> None:
    runtime = runtime_with(OWN.to_metadata())
    assert camera_capacity_of(IntermediatesRuntime(runtime), None) == OWN
    assert camera_capacity_of(RecordingRuntime(runtime, tmp_path / "r", model_sha256="a" * 64), None) == OWN


@pytest.mark.parametrize(
    "grid",
    [replace(GRID, bev_h=2, bev_w=2), replace(GRID, bev_h=1 << 20), replace(GRID, image_hw=(8, 32))],
)
def test_the_room_of_another_model_is_refused(grid: PillarGrid) -> None:
    wrong = CameraCapacity(2, grid)
    with pytest.raises(
        CameraCalibrationError, match=r"^m\.onnx: its metadata gives the camera capacity of a model with"
    ):
        camera_capacity_of(runtime_with(wrong.to_metadata()), None, source="m.onnx")
    with pytest.raises(
        CameraCalibrationError, match=r"^m\.axmodel: the inference config gives .* its prev_bev is \(6, 1, 4\)"
    ):
        camera_capacity_of(runtime_with({}), wrong, source="m.axmodel")
