"""Models that nobody published: other images, grids, cameras and classes, through the whole export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from bevformer_lib.config.camera_capacity import CameraCapacity, PillarGrid
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.errors import CameraCalibrationError, ExportError
from bevformer_lib.export.clip import clip_frame
from bevformer_lib.export.onnx_export import export_onnx
from bevformer_lib.export.spatial import SpatialChoice, choose_spatial
from bevformer_lib.model.checkpoint import make_checkpoint
from bevformer_lib.names import OUTPUT_NAMES
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.runtime.temporal import TemporalSession
from tests.export.models import micro_base_config
from tests.support.micro import micro_config


def four_cameras() -> ModelConfig:
    """Wide images, a grid that is not square, and a camera calibration without side views."""
    return replace(micro_config(), name="four", num_cams=4, image_hw=(64, 224), bev_h=7, bev_w=13)


def eight_cameras() -> ModelConfig:
    """Four feature levels and three classes."""
    base = micro_base_config()
    return replace(
        base,
        name="eight",
        num_cams=8,
        image_hw=(128, 160),
        bev_h=12,
        bev_w=9,
        num_classes=3,
        class_names=("car", "pedestrian", "bicycle"),
        box_coder=replace(base.box_coder, num_classes=3),
    )


def metadata_of(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}


@pytest.mark.parametrize("config", [four_cameras(), eight_cameras()], ids=lambda config: config.name)
def test_custom_models_are_exported_proven_and_run(config: ModelConfig, tmp_path: Path) -> None:
    make_checkpoint(config, tmp_path / "w.pth", seed=4)
    result = export_onnx(config, tmp_path / "w.pth", tmp_path / "x.onnx")
    assert result.spatial == SpatialChoice("visible", 2)
    assert result.parity.worst("bev_embed") <= result.parity.tolerance
    capacity = CameraCapacity.from_metadata(metadata_of(result.output), source="x.onnx")
    assert capacity == CameraCapacity(2, PillarGrid.of(config))
    runtime = OnnxRuntime(result.output, threads=1)
    assert runtime.inputs["img"].shape == (1, config.num_cams, 3, *config.image_hw)
    assert runtime.outputs["outputs_classes"].shape == (3, 1, 30, config.num_classes)
    session = TemporalSession(runtime)
    assert np.isfinite(session.step(clip_frame(config, 0, seed=9), first=True).outputs["bev_embed"]).all()


def test_the_graph_refuses_a_frame_whose_cells_are_seen_by_more_cameras(tmp_path: Path) -> None:
    config = micro_config()
    make_checkpoint(config, tmp_path / "w.pth", seed=4)
    export_onnx(config, tmp_path / "w.pth", tmp_path / "x.onnx")
    session = TemporalSession(OnnxRuntime(tmp_path / "x.onnx", threads=1))
    frame = clip_frame(config, 0, seed=9)
    session.step(frame, first=True)
    all_ahead = replace(
        frame, lidar2img=np.repeat(frame.lidar2img[:, :1], 6, axis=1), source="scene-3/meta_000007.json"
    )
    with pytest.raises(
        CameraCalibrationError, match=r"^scene-3/meta_000007\.json: .* \(6\) than the model takes \(2 per cell\)"
    ):
        session.step(all_ahead, first=False)


def test_the_dense_form_takes_any_camera_calibration(tmp_path: Path) -> None:
    config = micro_config()
    make_checkpoint(config, tmp_path / "w.pth", seed=4)
    result = export_onnx(config, tmp_path / "w.pth", tmp_path / "x.onnx", spatial="dense")
    assert CameraCapacity.from_metadata(metadata_of(result.output), source="x.onnx") is None
    frame = clip_frame(config, 0, seed=9)
    all_ahead = replace(frame, lidar2img=np.repeat(frame.lidar2img[:, :1], 6, axis=1))
    TemporalSession(OnnxRuntime(tmp_path / "x.onnx", threads=1)).step(all_ahead, first=True)


@pytest.mark.parametrize(
    ("num_cams", "expected"),
    [
        (1, SpatialChoice("dense", 1)),
        (2, SpatialChoice("dense", 2)),
        (3, SpatialChoice("visible", 2)),
        (6, SpatialChoice("visible", 2)),
        (8, SpatialChoice("visible", 2)),
        (12, SpatialChoice("visible", 3)),
    ],
)
def test_visible_cameras_are_the_default_where_they_are_fewer(num_cams: int, expected: SpatialChoice) -> None:
    assert choose_spatial(replace(micro_config(), num_cams=num_cams)) == expected


@pytest.mark.parametrize(
    ("num_cams", "form", "cameras_per_query", "message"),
    [
        (12, None, 2, "12 cameras .* up to 3 of them, and the graph takes 2 .* --cameras-per-query 3"),
        (6, "visible", 1, "up to 2 of them, and the graph takes 1"),
        (6, "visible", 7, "7 cameras per cell: give a number from 1 to 6"),
        (6, None, 0, "0 cameras per cell: give a number from 1 to 6"),
        (6, "dense", 2, "leave out --cameras-per-query"),
    ],
)
def test_what_can_not_be_honoured_is_refused_with_the_reason(
    num_cams: int, form: str | None, cameras_per_query: int | None, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        choose_spatial(replace(micro_config(), num_cams=num_cams), form, cameras_per_query)


def test_twelve_cameras_are_exported_for_three_per_cell(tmp_path: Path) -> None:
    config = replace(micro_config(), num_cams=12)
    make_checkpoint(config, tmp_path / "w.pth", seed=4)
    result = export_onnx(config, tmp_path / "w.pth", tmp_path / "x.onnx")
    assert result.spatial == SpatialChoice("visible", 3)


def test_images_that_do_not_halve_evenly_are_exported_with_four_levels(tmp_path: Path) -> None:
    config = replace(micro_base_config(), image_hw=(90, 150))
    make_checkpoint(config, tmp_path / "w.pth", seed=4)
    result = export_onnx(config, tmp_path / "w.pth", tmp_path / "x.onnx")
    assert result.parity.worst("bev_embed") <= result.parity.tolerance


def test_levels_that_are_not_neighbours_are_exported(tmp_path: Path) -> None:
    base = micro_base_config()
    config = replace(
        base,
        image_hw=(104, 160),
        backbone=replace(base.backbone, out_indices=(1, 3)),
        neck=replace(base.neck, in_channels=(64, 256), num_outs=2),
        encoder=replace(base.encoder, num_layers=1, spatial_levels=2),
    )
    make_checkpoint(config, tmp_path / "w.pth", seed=4)
    result = export_onnx(config, tmp_path / "w.pth", tmp_path / "x.onnx")
    assert "Resize" not in result.operators
    assert result.parity.worst("bev_embed") <= result.parity.tolerance


@pytest.mark.parametrize(
    "switch", ["with_box_refine", "can_bus_norm", "use_cams_embeds", "use_shift", "rotate_prev_bev"]
)
def test_what_can_be_switched_off_is_exported_and_proven(switch: str, tmp_path: Path) -> None:
    micro = micro_config()
    config = replace(
        micro,
        image_hw=(64, 96),
        encoder=replace(micro.encoder, num_layers=1),
        decoder=replace(micro.decoder, num_layers=2),
        **{switch: False},
    )
    make_checkpoint(config, tmp_path / "w.pth", seed=4)
    result = export_onnx(config, tmp_path / "w.pth", tmp_path / "x.onnx", target="AX620E")
    assert all(result.parity.worst(output) <= result.parity.tolerance for output in OUTPUT_NAMES)


def test_a_model_that_does_not_read_can_bus_is_refused(tmp_path: Path) -> None:
    config = replace(micro_config(), use_can_bus=False, use_shift=False, rotate_prev_bev=False)
    make_checkpoint(config, tmp_path / "w.pth", seed=4)
    with pytest.raises(ExportError, match="would have no can_bus input"):
        export_onnx(config, tmp_path / "w.pth", tmp_path / "x.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]
