from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from bevformer_lib.config.camera_capacity import CameraCapacity, PillarGrid
from bevformer_lib.config.inference_config import read_inference_config
from bevformer_lib.export.spatial import SpatialChoice
from bevformer_lib.pipeline.export import INFERENCE_CONFIG, ExportWork
from bevformer_lib.progress import no_progress
from tests.support.micro import micro_config


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (SpatialChoice("visible", 3), CameraCapacity(3, PillarGrid.of(micro_config()))),
        (SpatialChoice("dense", 6), None),
    ],
)
def test_the_inference_config_states_the_room_of_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: SpatialChoice, expected: CameraCapacity | None
) -> None:
    exported = SimpleNamespace(
        spatial=choice,
        host_geometry=None,
        operators={},
        parity=SimpleNamespace(tolerance=1e-4, figures=()),
        checkpoint=SimpleNamespace(random_weights_seed=None),
        provenance=SimpleNamespace(versions={}),
    )
    monkeypatch.setattr("bevformer_lib.pipeline.export.open_artifact", lambda store, artifact: tmp_path / "w.pth")
    monkeypatch.setattr("bevformer_lib.export.onnx_export.export_onnx", lambda *given, **options: exported)
    ExportWork(micro_config(), None, "AX650").produce(None, tmp_path, no_progress)
    assert read_inference_config(tmp_path / INFERENCE_CONFIG).camera_capacity == expected
