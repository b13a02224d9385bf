"""How a night behaves on many machines: a simulation from measured step times.

    python -m benchmarks.scale --store store          # seconds per frame as a build in this store measured them
    python -m benchmarks.scale --gpu-frame-s 0.06 --board-frame-s 0.12

Every worker polls for runs, takes one batch, starts a process, loads the models, and runs the scenes of the batch one
after the other. Scenes take different times (a log-normal factor), some machines are slow, and a machine dies now and
then: that is noticed, and what is left of its batch is begun again.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bevformer_lib.store.open import open_store
from bevformer_lib.store.step import StepRecord
from tasks.batches import MOST_PARTS

FRAMES_PER_SCENE = 40
QUERY_S = 10.0
"""Workers ask for runs so often, unless told otherwise (PREFECT_WORKER_QUERY_SECONDS)."""
NOTICED_S = 90.0
"""Until a machine that died is noticed by its missing heartbeats."""
REQUESTS_PER_RUN = 45
"""Of a child run: states, logs, events, artifacts. An estimate; nobody counted them."""
REQUESTS_PER_SCENE = 6


@dataclass(frozen=True)
class Times:
    """Seconds.

    Attributes:
        frame: one frame of a scene.
        start: of a run: process, imports, engine.
        load: of the models.
    """

    frame: float
    start: float
    load: float


@dataclass(frozen=True)
class Night:
    """What a simulated night came to.

    Attributes:
        seconds: until the last scene was done.
        busy: share of the workers' time that was spent on scenes.
        batches: how many there were, those that were begun again included.
        requests_per_s: what the server was asked, on average.
    """

    seconds: float
    busy: float
    batches: int
    requests_per_s: float


def simulate(
    num_scenes: int,
    num_workers: int,
    batches_per_worker: int,
    times: Times,
    *,
    spread: float = 0.25,
    slow: float = 0.1,
    deaths_per_hour: float = 0.01,
    seed: int = 0,
) -> Night:
    """Play one night.

    Args:
        num_scenes: scenes of about 40 frames.
        num_workers: machines that take one batch at a time.
        batches_per_worker: into how many batches the scenes are cut, per worker.
        times: measured.
        spread: standard deviation of the logarithm of a scene's time.
        slow: of the machines are half as fast.
        deaths_per_hour: of one machine; it comes back after ten minutes.
        seed: of all chance.
    """
    chance = random.Random(seed)  # noqa: S311
    scenes = [FRAMES_PER_SCENE * times.frame * chance.lognormvariate(0.0, spread) for _ in range(num_scenes)]
    count = min(num_scenes, max(num_workers * batches_per_worker, math.ceil(num_scenes / MOST_PARTS)))
    waiting = [(0.0, number, scenes[number::count]) for number in range(count)]  # ready at, order, scenes
    heapq.heapify(waiting)
    speeds = [0.5 if chance.random() < slow else 1.0 for _ in range(num_workers)]
    free = [(chance.uniform(0.0, QUERY_S), worker) for worker in range(num_workers)]
    heapq.heapify(free)
    end, worked, runs = 0.0, 0.0, 0
    while waiting:
        now, worker = heapq.heappop(free)
        ready, order, batch = heapq.heappop(waiting)
        if ready > now:  # nothing to take yet: it asks again later
            heapq.heappush(waiting, (ready, order, batch))
            heapq.heappush(free, (max(now + QUERY_S, min(ready, now + QUERY_S)), worker))
            continue
        runs += 1
        clock = now + times.start + times.load
        dies_at = now + (chance.expovariate(deaths_per_hour / 3600.0) if deaths_per_hour else math.inf)
        left = list(batch)
        while left and clock + left[0] / speeds[worker] <= dies_at:
            clock += left[0] / speeds[worker]
            worked += left.pop(0) / speeds[worker]
            end = max(end, clock)
        if left:
            heapq.heappush(waiting, (dies_at + NOTICED_S, order, left))
            clock = dies_at + 600.0
        heapq.heappush(free, (clock + chance.uniform(0.0, QUERY_S), worker))
    asked = runs * REQUESTS_PER_RUN + num_scenes * REQUESTS_PER_SCENE
    polled = end * (num_workers / QUERY_S + 2 * min(num_workers, runs) / 10.0 + num_workers / 30.0 + runs / 200 / 4.0)
    return Night(end, worked / (end * num_workers), runs, (asked + polled) / end)


def measured(store: str, step: str) -> float | None:
    """Return the median seconds per frame that a store's records of a step tell; ``None`` where there are none."""
    opened = open_store(store, must_exist=True)
    figures = []
    for kind in opened.list_kinds():
        if kind.startswith(f"{step}/"):
            for key in opened.list_records(kind):
                content = opened.get_record(kind, key)
                record = StepRecord.from_dict(content or {})
                frames = record.facts.get("frames") or record.facts.get("frames_run")
                figures += [record.seconds / frames] if frames else []
    return statistics.median(figures) if figures else None


def table(name: str, workers: Sequence[int], times: Times, num_scenes: int) -> None:
    """Print one pool's nights, medians of five."""
    print(
        f"\n{name}: {num_scenes} scenes, {times.frame:.3f} s per frame, {times.start + times.load:.0f} s to start a run"
    )
    print("| workers | batches per worker | scenes per batch | minutes | busy | runs | requests/s |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for number in workers:
        for cut in (1, 2, 4, 8, 16):
            if number * cut > num_scenes:
                continue
            nights = [simulate(num_scenes, number, cut, times, seed=seed) for seed in range(5)]
            batches = statistics.median(night.batches for night in nights)
            print(
                f"| {number} | {cut} | {num_scenes / min(num_scenes, max(number * cut, num_scenes / MOST_PARTS)):.0f} "
                f"| {statistics.median(night.seconds for night in nights) / 60.0:.1f} "
                f"| {statistics.median(night.busy for night in nights):.0%} | {batches:.0f} "
                f"| {statistics.median(night.requests_per_s for night in nights):.1f} |"
            )


def main() -> None:
    """Print the nights of both kinds of machines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", help="take seconds per frame from this store's records")
    parser.add_argument("--gpu-frame-s", type=float, default=0.06)
    parser.add_argument("--board-frame-s", type=float, default=0.25)
    parser.add_argument("--start-s", type=float, default=6.5, help="start of a run on a process pool")
    parser.add_argument("--load-s", type=float, default=8.0, help="opening the models")
    parser.add_argument("--scenes", type=int, default=1000)
    asked = parser.parse_args()
    gpu, board = asked.gpu_frame_s, asked.board_frame_s
    if asked.store:
        gpu = measured(asked.store, "calibration-prev-bev") or gpu
        board = measured(asked.store, "evaluate") or board
    table("GPU workers", (1, 8, 64), Times(gpu, asked.start_s, asked.load_s), asked.scenes)
    table("Boards", (10,), Times(board, asked.start_s, asked.load_s), asked.scenes)


if __name__ == "__main__":
    main()
