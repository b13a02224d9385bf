"""The simulation of a night on many machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import scale
from benchmarks.scale import FRAMES_PER_SCENE, Times, measured, simulate
from bevformer_lib.store.folder import FolderStore
from bevformer_lib.store.run import run_step
from bevformer_lib.store.step import Step

NO_OVERHEAD = Times(frame=1.0, start=0.0, load=0.0)


def test_without_chance_a_night_takes_what_the_scenes_take() -> None:
    night = simulate(64, 8, 1, NO_OVERHEAD, spread=0.0, slow=0.0, deaths_per_hour=0.0)
    ideal = 64 / 8 * FRAMES_PER_SCENE
    assert ideal <= night.seconds <= ideal + scale.QUERY_S
    assert night.batches == 8


def test_starts_cost_what_they_cost() -> None:
    times = Times(frame=1.0, start=7.0, load=8.0)
    one, eight = (simulate(64, 1, cut, times, spread=0.0, slow=0.0, deaths_per_hour=0.0) for cut in (1, 8))
    extra = eight.seconds - one.seconds
    assert 7 * 15.0 <= extra <= 7 * (15.0 + scale.QUERY_S)


def test_finer_shares_help_where_machines_differ() -> None:
    coarse, fine = (simulate(640, 8, cut, NO_OVERHEAD, slow=0.3, deaths_per_hour=0.0, seed=1) for cut in (1, 8))
    assert fine.seconds < 0.8 * coarse.seconds


def test_every_scene_is_done_though_machines_die() -> None:
    calm = simulate(100, 4, 4, NO_OVERHEAD, slow=0.0, deaths_per_hour=0.0)
    rough = simulate(100, 4, 4, NO_OVERHEAD, slow=0.0, deaths_per_hour=5.0)
    assert rough.batches > calm.batches
    assert rough.seconds > calm.seconds


def test_times_come_from_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = FolderStore(tmp_path)

    def produce(folder: Path) -> dict[str, int]:
        (folder / "evaluation.json").write_text("{}")
        return {"frames": 4}

    record = run_step(store, Step("evaluate", 1, {}, part="scene-0000"), produce).record
    assert measured(str(tmp_path), "evaluate") == pytest.approx(record.seconds / 4)
    assert measured(str(tmp_path), "calibration-prev-bev") is None
    scale.table("Boards", (2,), Times(0.1, 1.0, 1.0), 10)
    assert "| 2 | 4 |" in capsys.readouterr().out
