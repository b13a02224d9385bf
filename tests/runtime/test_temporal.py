from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bevformer_lib.config.camera_capacity import CameraCapacity, PillarGrid
from bevformer_lib.errors import CameraCalibrationError, RuntimeUnavailableError
from bevformer_lib.runtime.temporal import TemporalSession, require_finite
from bevformer_lib.scenes.types import FrameInputs
from tests.support.fake_runtime import BEV_SHAPE, MICRO_INPUTS, MICRO_OUTPUTS, FakeRuntime, counting_runtime
from tests.support.micro import micro_config
from tests.support.scenes import surround_lidar_to_image


def _inputs(**shapes: tuple[int, ...]) -> FrameInputs:
    wanted = {**MICRO_INPUTS, **shapes}
    return FrameInputs(*(np.full(wanted[name], 0.5, dtype=np.float32) for name in ("img", "can_bus", "lidar2img")))


def test_bev_embed_is_fed_back_by_name() -> None:
    session = TemporalSession(counting_runtime())
    fed = [session.step(_inputs(), first=position == 0).prev_bev for position in range(3)]
    assert [float(prev_bev.max()) for prev_bev in fed] == [0.0, 1.0, 2.0]
    assert [float(prev_bev.min()) for prev_bev in fed] == [0.0, 1.0, 2.0]
    assert session.prev_bev.shape == BEV_SHAPE
    assert float(session.prev_bev.max()) == 3.0


def test_a_first_frame_forgets_the_scene_before() -> None:
    session = TemporalSession(counting_runtime())
    session.step(_inputs(), first=True)
    result = session.step(_inputs(), first=True)
    assert not result.prev_bev.any()
    assert float(result.outputs["bev_embed"].max()) == 1.0


def test_feed_has_the_models_dtype_and_results_are_float32() -> None:
    runtime = counting_runtime(np.float16)
    result = TemporalSession(runtime).step(_inputs(), first=True)
    assert {array.dtype for array in runtime.feeds[0].values()} == {np.dtype(np.float16)}
    assert {array.dtype for array in result.outputs.values()} == {np.dtype(np.float32)}
    assert result.seconds >= 0


def test_a_state_must_exist() -> None:
    with pytest.raises(RuntimeUnavailableError, match="pass first=True"):
        TemporalSession(counting_runtime()).step(_inputs(), first=False)


def test_frames_that_do_not_fit_name_both_shapes() -> None:
    with pytest.raises(RuntimeUnavailableError, match=r"img is \(1, 6, 3, 8, 8\), the model takes \(1, 6, 3, 8, 16\)"):
        TemporalSession(counting_runtime()).step(_inputs(img=(1, 6, 3, 8, 8)), first=True)


def test_a_model_with_other_names_is_refused() -> None:
    inputs = {("image" if name == "img" else name): shape for name, shape in MICRO_INPUTS.items()}
    with pytest.raises(RuntimeUnavailableError, match="not a BEVFormer model: its inputs are image"):
        TemporalSession(FakeRuntime(inputs, MICRO_OUTPUTS, lambda _: {}))


def test_a_model_whose_bev_does_not_fit_its_prev_bev_is_refused() -> None:
    outputs = {**MICRO_OUTPUTS, "bev_embed": (1, 6, 4)}
    with pytest.raises(RuntimeUnavailableError, match=r"bev_embed is \(1, 6, 4\) and its prev_bev \(6, 1, 4\)"):
        TemporalSession(FakeRuntime(MICRO_INPUTS, outputs, lambda _: {}))


GRID = replace(PillarGrid.of(micro_config()), bev_h=2, bev_w=3, image_hw=(8, 16))
"""Of the fake runtime."""


def camera_inputs() -> FrameInputs:
    """A frame whose first two cameras see the same."""
    camera_calibration = surround_lidar_to_image(GRID.image_hw)[None, [0, 0, 2, 3, 4, 5]].astype(np.float32)
    return replace(_inputs(), lidar2img=camera_calibration, source="scene-7/meta_000004.json")


def camera_session(cameras_per_query: int) -> tuple[TemporalSession, FrameInputs]:
    metadata = CameraCapacity(cameras_per_query, GRID).to_metadata()
    runtime = FakeRuntime(MICRO_INPUTS, MICRO_OUTPUTS, counting_runtime().run, metadata=metadata)
    return TemporalSession(runtime), camera_inputs()


def test_a_frame_whose_cameras_fit_is_run() -> None:
    session, inputs = camera_session(cameras_per_query=2)
    assert float(session.step(inputs, first=True).outputs["bev_embed"].max()) == 1.0


def test_a_frame_of_which_cells_would_be_dropped_is_refused_before_it_is_run() -> None:
    session, inputs = camera_session(cameras_per_query=1)
    with pytest.raises(CameraCalibrationError, match=r"scene-7/meta_000004\.json: .*takes \(1 per cell\)"):
        session.step(inputs, first=True)
    assert not session.prev_bev.any()


def test_a_model_without_metadata_is_proven_with_what_its_config_states() -> None:
    runtime = counting_runtime()
    session = TemporalSession(runtime, stated_capacity=CameraCapacity(1, GRID))
    with pytest.raises(CameraCalibrationError, match=r"scene-7/meta_000004\.json: .*takes \(1 per cell\)"):
        session.step(camera_inputs(), first=True)
    assert not runtime.feeds
    TemporalSession(runtime, stated_capacity=CameraCapacity(2, GRID)).step(camera_inputs(), first=True)
    assert len(runtime.feeds) == 1


def test_a_model_that_computes_no_numbers_is_refused() -> None:
    sound = {"bev_embed": np.zeros((2, 1, 2), np.float32), "outputs_classes": np.ones((1, 3), np.float32)}
    require_finite(sound, "frame 3")
    for value in (np.nan, np.inf, -np.inf):
        broken = {**sound, "outputs_classes": np.array([[0.0, value, 1.0]], np.float32)}
        with pytest.raises(
            RuntimeUnavailableError, match=r"frame 3: 1 of 3 values of the model's outputs_classes are NaN"
        ):
            require_finite(broken, "frame 3")


def test_what_is_prepared_ahead_is_run_as_it_is() -> None:
    runtime = counting_runtime(np.float16)
    session = TemporalSession(runtime)
    prepared = session.prepare(_inputs())
    assert prepared.img.dtype == np.float16
    plain = session.step(_inputs(), first=True)
    ahead = session.step(prepared, first=True)
    assert runtime.feeds[1]["img"] is prepared.img
    for name, array in runtime.feeds[0].items():
        np.testing.assert_array_equal(array, runtime.feeds[1][name])
    np.testing.assert_array_equal(plain.outputs["bev_embed"], ahead.outputs["bev_embed"])


def test_what_does_not_fit_is_refused_while_it_is_prepared() -> None:
    with pytest.raises(RuntimeUnavailableError, match=r"img is \(1, 6, 3, 8, 8\), the model takes"):
        TemporalSession(counting_runtime()).prepare(_inputs(img=(1, 6, 3, 8, 8)))
    session, inputs = camera_session(cameras_per_query=1)
    with pytest.raises(CameraCalibrationError, match=r"scene-7/meta_000004\.json: .*the model takes \(1 per cell\)"):
        session.prepare(inputs)


def test_a_forgotten_state_has_to_be_begun_anew() -> None:
    session = TemporalSession(counting_runtime())
    session.step(_inputs(), first=True)
    session.forget()
    assert not session.prev_bev.any()
    with pytest.raises(RuntimeUnavailableError, match="pass first=True"):
        session.step(_inputs(), first=False)
