"""How long the stages of a frame take, and what of it the model has to wait for."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bevformer_lib.evaluate.summary import Latency

A55_SLOWDOWN: Final = 4.0
"""CPU seconds of a Cortex-A55 at 1.7 GHz for one of the machine that this was measured on.

7-Zip's benchmark with one thread: 3,000 MIPS on the AMD EPYC core measured here, 1,140 on the A55 (RK3566, four at 1.8
GHz: 4,840, from sbc-bench's results), a ratio of 2.7. The A55's vector units are half as wide, and a part of the host's
work is vector work: taken together 4, between 2.7 and 5.4. An estimate; no board was measured.
"""
_ARM: Final = frozenset({"aarch64", "arm64"})


@dataclass(frozen=True)
class StageSeconds:
    """Seconds of one frame.

    Attributes:
        load: reading and decoding the images, ahead in a thread.
        preprocess: normalising and padding them, and what the host computes of the cameras, ahead in a thread.
        wait: between the model's calls: what the host's work was not hidden behind the call before.
        inference: inside the runtime.
        postprocess: from raw outputs to boxes and their records, behind in a thread.
        draw: image and video, behind in threads; 0 where neither is wanted.
    """

    load: float = 0.0
    preprocess: float = 0.0
    wait: float = 0.0
    inference: float = 0.0
    postprocess: float = 0.0
    draw: float = 0.0


STAGES: Final = tuple(field.name for field in dataclasses.fields(StageSeconds))
HOST_STAGES: Final = ("load", "preprocess", "postprocess", "draw")


@dataclass(frozen=True)
class FrameTimes:
    """What a frame took.

    Attributes:
        wall: wall-clock seconds.
        cpu: CPU seconds of the threads and processes that did the host's stages; without threads that OpenCV starts.
    """

    wall: StageSeconds
    cpu: StageSeconds

    def __add__(self, other: FrameTimes) -> FrameTimes:
        return FrameTimes(_sum(self.wall, other.wall), _sum(self.cpu, other.cpu))


class StageClock:
    """Measures stages of one frame in one thread, one after the other."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = time.thread_time()
        self.times = FrameTimes(StageSeconds(), StageSeconds())

    def lap(self, stage: str, *, elsewhere: float = 0.0) -> None:
        """Count the time since the last lap for a stage, and CPU seconds that were spent for it elsewhere."""
        wall, cpu = time.perf_counter(), time.thread_time()
        spent = cpu - self._cpu + elsewhere
        lap = FrameTimes(StageSeconds(**{stage: wall - self._wall}), StageSeconds(**{stage: spent}))
        self.times = self.times + lap
        self._wall, self._cpu = wall, cpu


@dataclass(frozen=True)
class Throughput:
    """What a run reached, its first frame left out.

    Attributes:
        frames_per_second: frames over wall-clock time.
        inference_share: part of the time in which the model ran.
        host_cpu_seconds: mean CPU seconds of a frame by stage of the host.
    """

    frames_per_second: float
    inference_share: float
    host_cpu_seconds: Mapping[str, float]

    @property
    def host_total(self) -> float:
        """Mean CPU seconds that the host needs for a frame."""
        return sum(self.host_cpu_seconds.values())


def throughput_of(frames: Sequence[FrameTimes]) -> Throughput | None:
    """Return what a run of these frames reached; ``None`` for less than two."""
    warm = frames[1:]
    if not warm:
        return None
    inference = sum(frame.wall.inference for frame in warm)
    elapsed = inference + sum(frame.wall.wait for frame in warm)
    cpu = {stage: float(np.mean([getattr(frame.cpu, stage) for frame in warm])) for stage in HOST_STAGES}
    return Throughput(len(warm) / elapsed, inference / elapsed, cpu)


def latency_by_stage(scenes: Sequence[Sequence[StageSeconds]]) -> dict[str, Latency | None]:
    """Return median and 95th percentile per stage; scenes' first frames are left out as warm-up."""
    warm = [frame for scene in scenes for frame in scene[1:]]
    if not warm:
        return dict.fromkeys(STAGES)
    latency: dict[str, Latency | None] = {}
    for stage in STAGES:
        values = [getattr(frame, stage) for frame in warm]
        latency[stage] = Latency(float(np.median(values)), float(np.percentile(values, 95)), len(values))
    return latency


def a55_slowdown() -> float | None:
    """Return how much longer a board's processor takes; ``None`` where this is one of its kind, and was measured."""
    return None if platform.machine() in _ARM else A55_SLOWDOWN


def _sum(one: StageSeconds, other: StageSeconds) -> StageSeconds:
    return StageSeconds(*(a + b for a, b in zip(dataclasses.astuple(one), dataclasses.astuple(other), strict=True)))
