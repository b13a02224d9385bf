"""The host's geometry: bounded inputs, which give with the network alone what the whole model gives."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.config.load import load_model_config
from bevformer_lib.export.clip import clip_frame
from bevformer_lib.geometry.box_outputs import join_boxes
from bevformer_lib.geometry.host import HostGeometry
from bevformer_lib.geometry.surround_cameras import surround_cameras
from bevformer_lib.model.ego_motion import BevRotation
from bevformer_lib.model.host_geometry import HostGeometryBEVFormer
from bevformer_lib.model.sampling_reach import sampling_reach_images
from bevformer_lib.names import HOST_GEOMETRY_OUTPUTS, INPUT_CAN_BUS, INPUT_IMG, INPUT_LIDAR2IMG, INPUT_PREV_BEV
from tests.model.test_golden import CASES, MAX_RELATIVE_ERROR, golden_case, relative_error
from tests.support.data import requires_shared_data
from tests.support.micro import micro_config


def _frame(index: int, prev_bev: np.ndarray) -> dict[str, np.ndarray]:
    frame = clip_frame(micro_config(), index, seed=5)
    return {
        INPUT_IMG: frame.img,
        INPUT_CAN_BUS: frame.can_bus,
        INPUT_LIDAR2IMG: frame.lidar2img,
        INPUT_PREV_BEV: prev_bev,
    }


@requires_shared_data
@pytest.mark.parametrize("cameras_per_query", [None, 3])
@pytest.mark.parametrize("name", CASES)
def test_every_frame_of_the_originals_outputs(name: str, cameras_per_query: int | None) -> None:
    case = golden_case(name)
    reach_images = sampling_reach_images(case.model)
    config = HostGeometryConfig.of(case.config, cameras_per_query, reach_images=reach_images)
    host, network = HostGeometry(config), HostGeometryBEVFormer(case.model, config)
    none = np.zeros((case.config.num_bev_cells, 1, case.config.embed_dims), dtype=np.float32)
    prev_bev = none
    for frame, new_scene in case.frames():
        img, can_bus, lidar2img = (tensor.numpy() for tensor in case.inputs(frame))
        history = none if new_scene else prev_bev
        inputs = host.inputs(
            {INPUT_IMG: img, INPUT_CAN_BUS: can_bus, INPUT_LIDAR2IMG: lidar2img, INPUT_PREV_BEV: history}
        )
        with torch.no_grad():
            given = network(*(torch.from_numpy(array) for array in inputs.values()))
        outputs = {key: tensor.numpy() for key, tensor in zip(HOST_GEOMETRY_OUTPUTS, given, strict=True)}
        found = (outputs["bev_embed"], outputs["outputs_classes"], join_boxes(outputs, config.box_range))
        for output, key in zip(found, ("bev_embed", "all_cls_scores", "all_bbox_preds"), strict=True):
            error = relative_error(output, case.arrays[f"f{frame}/{key}"])
            assert error <= MAX_RELATIVE_ERROR, f"{key} of frame {frame} is off by {error:.2e}"
        prev_bev = outputs["bev_embed"]


@pytest.mark.parametrize("cameras_per_query", [None, 2])
def test_every_input_is_bounded_and_of_the_stated_shape(cameras_per_query: int | None) -> None:
    host = HostGeometry(HostGeometryConfig.of(micro_config(), cameras_per_query, reach_images=1.0))
    inputs = host.inputs(_frame(1, np.ones((120, 1, 32), np.float32)))
    assert tuple(inputs) == host.input_names
    assert {name: inputs[name].shape for name in host.shapes} == dict(host.shapes)
    bounds = {
        "reference_points": (-3, 3),
        "camera_weights": (0, 1),
        "camera_rows": (-5 / 6, 5 / 6),
        "history_grid": (-1.2, 1.2),
        "rotation_grid": (-1 - 1 / 10, 1),
    }
    for name in host.shapes:
        lowest, highest = bounds[name]
        assert inputs[name].dtype == np.float32
        assert lowest - 1e-6 <= inputs[name].min() < inputs[name].max() <= highest + 1e-6, name


def test_eight_bits_leave_the_rotation_as_it_is() -> None:
    config = replace(micro_config(), bev_h=200, bev_w=200, rotate_center=(100.0, 100.0), embed_dims=1)
    host = HostGeometry(HostGeometryConfig.of(config, None))
    prev_bev = np.arange(1, 40001, dtype=np.float32).reshape(-1, 1, 1)
    can_bus = np.zeros((1, 18), np.float32)
    can_bus[0, 17] = 7.3
    lidar2img = surround_cameras(6, config.image_hw).astype(np.float32)[None]
    frame = {INPUT_CAN_BUS: can_bus, INPUT_LIDAR2IMG: lidar2img, INPUT_IMG: prev_bev, INPUT_PREV_BEV: prev_bev}
    grid = host.inputs(frame)["rotation_grid"]
    step = (grid.max() - grid.min()) / 255
    rounded = torch.from_numpy(np.rint((grid - grid.min()) / step) * step + grid.min())
    rotation = BevRotation(config)
    exact, blurred = (rotation(torch.from_numpy(prev_bev), g) for g in (torch.from_numpy(grid), rounded.float()))
    assert torch.equal(exact, blurred)


def test_the_cameras_are_computed_once_per_calibration() -> None:
    host = HostGeometry(HostGeometryConfig.of(micro_config(), 2))
    frame = _frame(1, np.ones((120, 1, 32), np.float32))
    first = host.inputs(frame)["reference_points"]
    assert host.inputs({**frame, INPUT_LIDAR2IMG: frame[INPUT_LIDAR2IMG].copy()})["reference_points"] is first
    turned = frame[INPUT_LIDAR2IMG][:, ::-1].copy()
    assert not np.array_equal(host.inputs({**frame, INPUT_LIDAR2IMG: turned})["reference_points"], first)


def test_a_frame_of_tiny_takes_two_milliseconds_at_most() -> None:
    config = load_model_config("tiny")
    host = HostGeometry(HostGeometryConfig.of(config, 2))
    lidar2img = surround_cameras(6, config.image_hw).astype(np.float32)[None]
    prev_bev = np.ones((config.num_bev_cells, 1, config.embed_dims), np.float32)
    frame = {
        INPUT_IMG: prev_bev,
        INPUT_CAN_BUS: np.ones((1, 18), np.float32),
        INPUT_LIDAR2IMG: lidar2img,
        INPUT_PREV_BEV: prev_bev,
    }
    host.inputs(frame)
    fastest = min(_seconds(host, frame) for _ in range(20))
    assert fastest < 2e-3


def _seconds(host: HostGeometry, frame: dict[str, np.ndarray]) -> float:
    started = time.perf_counter()
    host.inputs(frame)
    return time.perf_counter() - started
