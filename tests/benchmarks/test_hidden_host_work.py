from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import hidden_host_work
from bevformer_lib.config.inference_config import inference_config_of, write_inference_config
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes


def test_both_ways_are_run_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hidden_host_work, "TINY_SECONDS", 0.01)
    write_inference_config(inference_config_of(micro_config()), tmp_path / "config.json")
    scenes = write_scenes(tmp_path / "scenes", num_scenes=1, frames_per_scene=2)
    words = [str(tmp_path / "config.json"), str(scenes), "--image-size", "96", "160"]
    hidden_host_work.main([*words, "--frames", "5", "--rounds", "1", "--boxes", "4"])
    rows = [row.split("|")[1:-1] for row in capsys.readouterr().out.splitlines()[4:]]
    assert [row[0].strip() for row in rows] == [
        "JSON, 4 boxes",
        "JSON, images, 4 boxes",
        "JSON, images, video, 4 boxes",
    ]
    assert all(float(cell.strip("% ")) > 0 for row in rows for cell in row[1:])
