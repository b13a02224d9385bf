from __future__ import annotations

import time

import pytest

from bevformer_lib.cli.infer import latency_table, throughput_lines
from bevformer_lib.infer import stages
from bevformer_lib.infer.infer import InferResult
from bevformer_lib.infer.stages import FrameTimes, StageClock, StageSeconds, Throughput, latency_by_stage, throughput_of


def frame(**wall: float) -> FrameTimes:
    return FrameTimes(StageSeconds(**wall), StageSeconds(load=0.05, draw=0.03))


def test_a_clock_splits_time_and_knows_sleep_from_work() -> None:
    clock = StageClock()
    time.sleep(0.05)
    clock.lap("load")
    clock.lap("draw")
    assert clock.times.wall.load >= 0.05
    assert clock.times.cpu.load < 0.04
    assert clock.times.wall.draw < clock.times.wall.load
    both = clock.times + clock.times
    assert both.wall.load == pytest.approx(2 * clock.times.wall.load)


def test_the_rate_is_that_of_the_model_and_of_what_it_waited_for() -> None:
    frames = [frame(inference=9.0), *[frame(inference=0.09, wait=0.01)] * 10]
    reached = throughput_of(frames)
    assert reached is not None
    assert reached.frames_per_second == pytest.approx(10.0)
    assert reached.inference_share == pytest.approx(0.9)
    expected = {"load": 0.05, "preprocess": 0.0, "postprocess": 0.0, "draw": 0.03}
    assert reached.host_cpu_seconds == pytest.approx(expected)
    assert reached.host_total == pytest.approx(0.08)
    assert throughput_of(frames[:1]) is None


@pytest.mark.parametrize(("machine", "scaled"), [("x86_64", True), ("aarch64", False)])
def test_the_summary_says_what_a_board_would_take(machine: str, scaled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages.platform, "machine", lambda: machine)
    frames = [frame(inference=0.09, wait=0.01)] * 3
    latency = latency_by_stage([[one.wall for one in frames]])
    result = InferResult(("a",), (), 3, 0, latency, throughput_of(frames))
    said = throughput_lines(result)
    assert said[0].startswith("10.00 frames/s: the model ran 90.0% of the time")
    assert said[0].endswith("took 0.080 s of CPU a frame")
    assert [line for line in said if "Cortex-A55 about 0.32 s (scaled by 4" in line] == (said[1:] if scaled else [])
    assert len(said) == 1 + scaled
    assert latency_table(result).row_count == 6
    assert throughput_lines(InferResult((), (), 0, 0, latency, None)) == []


def test_numbers_of_nothing() -> None:
    assert Throughput(1.0, 1.0, {}).host_total == 0
