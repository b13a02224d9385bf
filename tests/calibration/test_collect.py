from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bevformer_lib.calibration.collect import collect_scene_samples, prev_bev_path
from bevformer_lib.errors import CalibrationError
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from tests.support.calibration import ToyWorld, brute_force_prev_bev

SCENE = "scene-0001"


class CountingRuntime(OnnxRuntime):
    runs = 0

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.runs += 1
        return super().run(feed)


def _collect(world: ToyWorld, positions: tuple[int, ...], output: Path) -> tuple[Path, int]:
    runtime = CountingRuntime(world.model, threads=1)
    scene = world.scenes[SCENE]
    return collect_scene_samples(scene, positions, runtime, world.preprocessor, output), runtime.runs


def test_states_are_those_of_a_whole_run(world: ToyWorld, tmp_path: Path) -> None:
    folder, _ = _collect(world, (0, 2, 4), tmp_path / SCENE)
    expected = brute_force_prev_bev(world, SCENE)
    for position in (0, 2, 4):
        assert np.array_equal(np.load(prev_bev_path(folder, position)), expected[position])
    assert not np.load(prev_bev_path(folder, 0)).any()
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize(("positions", "runs"), [((0,), 0), ((1,), 1), ((3, 1), 3), ((4,), 4)])
def test_the_last_chosen_frame_is_not_run(
    world: ToyWorld, tmp_path: Path, positions: tuple[int, ...], runs: int
) -> None:
    assert _collect(world, positions, tmp_path / SCENE)[1] == runs


def test_same_bytes_again(world: ToyWorld, tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        folder, _ = _collect(world, (2,), tmp_path / name)
        contents.append(prev_bev_path(folder, 2).read_bytes())
    assert contents[0] == contents[1]


def test_progress_counts_the_frames_that_are_run(world: ToyWorld, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    collect_scene_samples(
        world.scenes[SCENE],
        (3,),
        OnnxRuntime(world.model),
        world.preprocessor,
        tmp_path / SCENE,
        on_progress=lambda *what: seen.append(what),
    )
    assert seen == [(SCENE, 1, 3), (SCENE, 2, 3), (SCENE, 3, 3)]


class BrokenRuntime(OnnxRuntime):
    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        outputs = super().run(feed)
        outputs["bev_embed"][0, 0, 0] = np.nan
        return outputs


def test_a_model_that_gives_nan_names_the_frame_and_leaves_nothing(world: ToyWorld, tmp_path: Path) -> None:
    runtime = BrokenRuntime(world.model)
    with pytest.raises(CalibrationError, match=r"scene-0001/meta_000001\.json: the model's BEV .* NaN or infinity"):
        collect_scene_samples(world.scenes[SCENE], (2,), runtime, world.preprocessor, tmp_path / SCENE)
    assert list(tmp_path.iterdir()) == []
