from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import calibration
from bevformer_lib.config.inference_config import inference_config_of, write_inference_config
from tests.support.calibration import make_toy_world
from tests.support.micro import micro_config


def test_both_ways_are_run_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_toy_world(tmp_path / "world", num_scenes=2, frames_per_scene=3)
    config = tmp_path / "inference_config.json"
    write_inference_config(inference_config_of(micro_config()), config)
    monkeypatch.chdir(Path(__file__).parents[2])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = [str(world.model), str(config), str(world.scenes_root), "--num-samples", "2", "--rounds", "1"]
    calibration.main([*words, "--scratch", str(scratch)])
    rows = capsys.readouterr().out.splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["time, s", "peak memory, MiB", "left on disk, MB"]
    assert all(float(cell) > 0 for row in rows[2:] for cell in row.split("|")[2:5])
    assert not list(scratch.iterdir())
