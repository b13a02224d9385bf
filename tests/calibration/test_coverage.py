from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from bevformer_lib.calibration.coverage import characters_of, coverage_of
from bevformer_lib.calibration.plan import plan_samples
from bevformer_lib.errors import CalibrationError, SceneError
from bevformer_lib.scenes.metas import read_metas
from bevformer_lib.scenes.reader import SceneRequirements, read_scenes
from bevformer_lib.scenes.types import Scene
from tests.support.micro import micro_config
from tests.support.scenes import SPEED_MPS, write_scenes


@pytest.fixture
def scenes(tmp_path: Path) -> tuple[Scene, ...]:
    """Two scenes of 4 frames at 8 m/s, turning by 3 degrees in half a second, one each way; the second is dark."""
    write_scenes(tmp_path, num_scenes=2, frames_per_scene=4)
    for scene, level in (("scene-0000", 200), ("scene-0001", 30)):
        for path in (tmp_path / scene).glob("cam_00_*.png"):
            image = np.full((96, 160, 3), 110, np.uint8)
            image[:90] = level
            cv2.imwrite(str(path), image)
    return read_scenes(tmp_path, SceneRequirements.of_model(micro_config()))


def test_what_kind_of_moment_a_frame_is(scenes: tuple[Scene, ...]) -> None:
    """The drive's yaw passes 0 degrees, which is no turn of -357 degrees."""
    for frame in characters_of(scenes):
        assert frame.ego_speed_mps == pytest.approx(SPEED_MPS)
        assert frame.yaw_rate_dps == pytest.approx(6.0 if frame.scene == "scene-0000" else -6.0)
        assert frame.brightness == pytest.approx(200.0 if frame.scene == "scene-0000" else 30.0), "without the padding"


def test_a_set_of_days_does_not_cover_the_night(scenes: tuple[Scene, ...]) -> None:
    coverage = coverage_of(scenes, [("scene-0000", 1), ("scene-0000", 3)])
    assert (coverage.samples, coverage.frames, coverage.scenes_sampled, coverage.scenes_total) == (2, 8, 1, 2)
    speed, yaw_rate, brightness = coverage.quantities
    assert brightness.calibration == pytest.approx((200.0, 200.0))
    assert brightness.scenes == pytest.approx((200.0,) * 4 + (30.0,) * 4)
    assert brightness.share_within == 0.5
    assert (len(speed.scenes), len(yaw_rate.calibration)) == (8, 2)
    content = json.loads(json.dumps(coverage.to_dict(), allow_nan=False))
    assert content["quantities"][2] == {
        "name": "Brightness",
        "unit": "gray level",
        "calibration": [200.0, 200.0],
        "scenes": [200.0] * 4 + [30.0] * 4,
        "share_within": 0.5,
    }


def test_a_plan_takes_from_both(scenes: tuple[Scene, ...]) -> None:
    plan = plan_samples({scene.name: len(scene.frames) for scene in scenes}, 4, seed=0)
    shown: list[tuple[str, int, int]] = []
    coverage = coverage_of(
        scenes,
        [(sample.scene, sample.position) for sample in plan.samples],
        on_progress=lambda *done: shown.append(done),
    )
    assert [quantity.share_within for quantity in coverage.quantities[1:]] == [1.0, 1.0]
    assert shown[-1] == ("looking at frames", 8, 8)


def test_what_the_scenes_do_not_say_is_left_out(scenes: tuple[Scene, ...], tmp_path: Path) -> None:
    without_images = coverage_of(read_metas(tmp_path), [("scene-0000", 0)])
    assert [quantity.name for quantity in without_images.quantities] == ["Ego speed", "Yaw rate"]
    (first, *_), name = scenes[0].frames, scenes[0].name
    alone = coverage_of([Scene(name, (first,))], [(name, 0)])
    assert [quantity.name for quantity in alone.quantities] == ["Brightness"], "one frame is no motion"
    timeless = Scene(name, tuple(dataclasses.replace(frame, timestamp_us=None) for frame in scenes[0].frames))
    assert [quantity.name for quantity in coverage_of([timeless], []).quantities] == ["Brightness"]
    assert coverage_of([timeless], []).quantities[0].share_within is None


def test_samples_of_other_scenes_and_broken_images(scenes: tuple[Scene, ...]) -> None:
    with pytest.raises(CalibrationError, match="holds frame 4 of scene-0000, which is not among the scenes"):
        coverage_of(scenes, [("scene-0000", 4)])
    scenes[0].frames[2].images[0].path.write_bytes(b"")
    with pytest.raises(SceneError, match=r"cam_00_000002\.png: can't be decoded"):
        coverage_of(scenes, [])
