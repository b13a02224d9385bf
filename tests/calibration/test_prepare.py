from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from bevformer_lib.calibration.extract import extract_quantization_data
from bevformer_lib.calibration.pack import ARCHIVE_ORDER, archive_name
from bevformer_lib.calibration.prepare import prepare_calibration, prepare_from_quantization_data
from bevformer_lib.calibration.quantization_data import read_quantization_data
from bevformer_lib.errors import CalibrationError
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from tests.support.calibration import ToyWorld


class CountingRuntime(OnnxRuntime):
    runs = 0
    fails_at: int | None = None

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.runs += 1
        if self.runs == self.fails_at:
            raise KeyboardInterrupt
        return super().run(feed)


def _prepare(world: ToyWorld, output: Path, num_samples: int = 4, fails_at: int | None = None) -> int:
    runtime = CountingRuntime(world.model, threads=1)
    runtime.fails_at = fails_at
    prepare_calibration(
        list(world.scenes.values()),
        runtime,
        world.preprocessor,
        output,
        num_samples=num_samples,
        seed=0,
        model_sha256="a" * 64,
    )
    return runtime.runs


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_only_what_is_needed_is_run(world: ToyWorld, tmp_path: Path) -> None:
    runs = _prepare(world, tmp_path)
    samples = json.loads((tmp_path / "calibration_manifest.json").read_text())["samples"]
    last: dict[str, int] = {}
    for sample in samples:
        last[sample["scene"]] = max(last.get(sample["scene"], 0), sample["position"])
    assert runs == sum(last.values()) < 15
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*map(archive_name, ARCHIVE_ORDER), "calibration_manifest.json"]
    )


def test_same_inputs_same_bytes(world: ToyWorld, tmp_path: Path) -> None:
    _prepare(world, tmp_path / "one")
    _prepare(world, tmp_path / "two")
    assert _digests(tmp_path / "one") == _digests(tmp_path / "two")


def test_an_interrupted_run_carries_on(world: ToyWorld, tmp_path: Path) -> None:
    all_runs = _prepare(world, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _prepare(world, tmp_path / "resumed", fails_at=all_runs)
    assert [path.name.split("-")[0] for path in (tmp_path / "resumed").iterdir()] == [".collected"]
    assert 0 < _prepare(world, tmp_path / "resumed") < all_runs
    assert _digests(tmp_path / "whole") == _digests(tmp_path / "resumed")


def test_a_finished_set_is_refused_before_anything_is_run(world: ToyWorld, tmp_path: Path) -> None:
    _prepare(world, tmp_path)
    with pytest.raises(CalibrationError, match="holds a calibration set"):
        _prepare(world, tmp_path, fails_at=1)


def _extracted(world: ToyWorld, folder: Path) -> Path:
    extract_quantization_data(
        list(world.scenes.values()),
        OnnxRuntime(world.model, threads=1),
        world.preprocessor,
        folder,
        model_sha256="a" * 64,
        config_sha256="c" * 64,
    )
    return folder


def test_extracted_frames_give_the_same_set(world: ToyWorld, tmp_path: Path) -> None:
    _prepare(world, tmp_path / "run")
    data = read_quantization_data(_extracted(world, tmp_path / "data"))
    prepare_from_quantization_data(data, tmp_path / "taken", bev_shape=(120, 1, 32), num_samples=4, seed=0)
    assert _digests(tmp_path / "run") == _digests(tmp_path / "taken")


def test_extracted_frames_of_another_model(world: ToyWorld, tmp_path: Path) -> None:
    data = read_quantization_data(_extracted(world, tmp_path / "data"))
    with pytest.raises(
        CalibrationError, match=r"prev_bev of frame \d is \(120, 1, 32\), the inference config makes it"
    ):
        prepare_from_quantization_data(data, tmp_path / "set", bev_shape=(2500, 1, 256), num_samples=2, seed=0)
    assert list((tmp_path / "set").iterdir()) == []
