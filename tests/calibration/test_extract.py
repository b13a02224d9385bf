from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bevformer_lib.calibration.extract import extract_quantization_data
from bevformer_lib.calibration.plan import plan_samples
from bevformer_lib.calibration.quantization_data import read_quantization_data
from bevformer_lib.calibration.samples import samples_from_quantization_data
from bevformer_lib.errors import CalibrationError
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from tests.support.calibration import ToyWorld, brute_force_prev_bev


class CountingRuntime(OnnxRuntime):
    runs = 0
    fails_at: int | None = None

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.runs += 1
        if self.runs == self.fails_at:
            raise KeyboardInterrupt
        return super().run(feed)


def _extract(
    world: ToyWorld, output: Path, names: list[str], *, fails_at: int | None = None, model_sha256: str = "a" * 64
) -> int:
    runtime = CountingRuntime(world.model, threads=1)
    runtime.fails_at = fails_at
    scenes = [world.scenes[name] for name in names]
    extract_quantization_data(
        scenes, runtime, world.preprocessor, output, model_sha256=model_sha256, config_sha256="c" * 64
    )
    return runtime.runs


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_vendors_format(world: ToyWorld, tmp_path: Path) -> None:
    _extract(world, tmp_path, ["scene-0000", "scene-0001"])
    assert _json(tmp_path / "global_index.json") == {
        "num_scenes": 2,
        "scenes": [{"name": "scene-0000", "num_frames": 5}, {"name": "scene-0001", "num_frames": 5}],
    }
    scene = tmp_path / "scene-0001"
    assert _json(scene / "scene_index.json") == {
        "scene_name": "scene-0001",
        "num_frames": 5,
        "frame_indices": [0, 1, 2, 3, 4],
    }
    names = {path.name for path in scene.iterdir()}
    kinds = ("img.npy", "lidar2img.npy", "can_bus.npy", "prev_bev.npy", "meta.json")
    assert names == {f"frame_{index:04d}_{kind}" for index in range(5) for kind in kinds} | {
        "scene_index.json",
        "origin.json",
    }
    frames = world.scenes["scene-0001"].frames
    inputs = world.preprocessor.inputs(frames[3], frames[2])
    for name in ("img", "lidar2img", "can_bus"):
        assert np.array_equal(np.load(scene / f"frame_0003_{name}.npy"), getattr(inputs, name))
    for position, prev_bev in enumerate(brute_force_prev_bev(world, "scene-0001")):
        stored = np.load(scene / f"frame_{position:04d}_prev_bev.npy")
        assert stored.dtype == np.float32
        assert np.array_equal(stored, prev_bev)
    assert (scene / "frame_0003_meta.json").read_bytes() == frames[3].meta_path.read_bytes()


def test_frames_are_numbered_by_their_place_whatever_their_own_numbers(world: ToyWorld, tmp_path: Path) -> None:
    scene = world.scenes["scene-0000"]
    later = dataclasses.replace(
        scene, frames=tuple(dataclasses.replace(frame, index=7 + 3 * frame.index) for frame in scene.frames)
    )
    _extract(dataclasses.replace(world, scenes={"scene-0000": later}), tmp_path, ["scene-0000"])
    folder = tmp_path / "scene-0000"
    assert _json(folder / "scene_index.json")["frame_indices"] == [0, 1, 2, 3, 4]
    assert len(list(folder.glob("frame_000[0-4]_img.npy"))) == 5
    data = read_quantization_data(tmp_path)
    assert data.frame_numbers == {"scene-0000": (7, 10, 13, 16, 19)}
    plan = plan_samples({"scene-0000": 5}, 5, seed=0)
    for sample in samples_from_quantization_data(plan, data):
        assert sample.frame_index == 7 + 3 * sample.planned.position
        stored = np.load(folder / f"frame_{sample.planned.position:04d}_can_bus.npy")
        assert np.array_equal(sample.arrays["can_bus"], stored)


def test_finished_scenes_are_not_run_again(world: ToyWorld, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _extract(world, tmp_path, ["scene-0000", "scene-0001"], fails_at=8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["extraction.json", "scene-0000"]
    assert _extract(world, tmp_path, ["scene-0000", "scene-0001"]) == 5
    assert _json(tmp_path / "global_index.json")["num_scenes"] == 2


def test_a_full_disk_names_the_scene_and_leaves_nothing_of_it(
    world: ToyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("27648000 requested and 4096 written")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(CalibrationError, match=r"scene-0000: 27648000 requested and 4096 written; .* Make room"):
        _extract(world, tmp_path, ["scene-0000"])
    assert [path.name for path in tmp_path.iterdir()] == ["extraction.json"]


def test_remains_of_a_killed_run_are_removed(world: ToyWorld, tmp_path: Path) -> None:
    abandoned = tmp_path / ".scene-0000.0123456789ab.partial"
    abandoned.mkdir()
    (abandoned / "frame_0000_img.npy").write_bytes(b"half")
    _extract(world, tmp_path, ["scene-0000"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["extraction.json", "global_index.json", "scene-0000"]


def test_shares_of_the_scenes_make_one_index(world: ToyWorld, tmp_path: Path) -> None:
    _extract(world, tmp_path, ["scene-0002"])
    _extract(world, tmp_path, ["scene-0000"])
    scenes = _json(tmp_path / "global_index.json")["scenes"]
    assert [scene["name"] for scene in scenes] == ["scene-0000", "scene-0002"]


def test_a_folder_never_mixes_two_models(world: ToyWorld, tmp_path: Path) -> None:
    _extract(world, tmp_path, ["scene-0000"])
    with pytest.raises(CalibrationError, match="made with another model or config; choose another folder"):
        _extract(world, tmp_path, ["scene-0001"], model_sha256="b" * 64)


def test_a_scene_that_changed_is_an_error(world: ToyWorld, tmp_path: Path) -> None:
    _extract(world, tmp_path, ["scene-0000"])
    scene = world.scenes["scene-0000"]
    shorter = dataclasses.replace(scene, frames=scene.frames[:3])
    changed = dataclasses.replace(world, scenes={"scene-0000": shorter})
    with pytest.raises(CalibrationError, match=r"scene-0000/origin\.json: .* with other frames"):
        _extract(changed, tmp_path, ["scene-0000"])


def test_reading_back(world: ToyWorld, tmp_path: Path) -> None:
    _extract(world, tmp_path, ["scene-0000"])
    data = read_quantization_data(tmp_path)
    assert data.frame_indices == data.frame_numbers == {"scene-0000": (0, 1, 2, 3, 4)}
    assert data.model_sha256 == "a" * 64
    assert set(data.load("scene-0000", 2)) == {"img", "can_bus", "lidar2img", "prev_bev"}
    (tmp_path / "extraction.json").unlink()
    assert read_quantization_data(tmp_path).model_sha256 is None
    (tmp_path / "scene-0000" / "frame_0002_img.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(CalibrationError, match=r"frame_0002_img\.npy: is no \.npy file"):
        data.load("scene-0000", 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"global_index\.json: is not valid JSON.*extract-quantization-data"),
        ("[]", r"global_index\.json: must hold a JSON object"),
        ("{}", r"global_index\.json: 'scenes' is missing or is not a list"),
        ('{"scenes": []}', r"global_index\.json: it lists no scenes"),
        ('{"scenes": [{"name": "../secret"}]}', r"global_index\.json: scene '\.\./secret' is not a plain folder name"),
        ('{"scenes": [{"num_frames": 3}]}', "needs a 'name' in every entry"),
        ('{"scenes": [{"name": "none"}]}', r"none/scene_index\.json: can't be read"),
    ],
)
def test_broken_index(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "global_index.json").write_text(content)
    with pytest.raises(CalibrationError, match=message):
        read_quantization_data(tmp_path)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="written by 'bevformer extract-quantization-data'"):
        read_quantization_data(tmp_path / "none")
