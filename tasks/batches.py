"""How a step's parts are put into batches for workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bevformer_lib.pipeline.work import Work

BATCHES_PER_WORKER: Final = 8
"""With fewer, workers wait for the slowest at the end; docs/scale.md has the simulation that these figures are from."""
BATCH_SECONDS: Final = 120.0
"""With shorter batches, starting runs (some 15 s with the models) costs more than an even end gains."""
MOST_PARTS: Final = 100
"""Of one batch: keeps a run's parameters far below the server's limit of 512 KiB."""


def batches(work: Sequence[Work], num_workers: int, seconds_per_frame: float | None = None) -> list[list[Work]]:
    """Divide work so that every batch takes about the same time; the largest parts are given away first.

    A lone worker gets all in one batch, since every run costs a start.

    Args:
        work: parts that don't need each other.
        num_workers: workers that may take a batch.
        seconds_per_frame: as it was the last time; ``None``: unknown.
    """
    wanted = 1
    if num_workers > 1:
        most = num_workers * BATCHES_PER_WORKER
        frames = sum(one.num_frames for one in work)
        long = most if seconds_per_frame is None else int(frames * seconds_per_frame / BATCH_SECONDS)
        wanted = min(most, max(num_workers, long))
    count = min(len(work), max(wanted, -(-len(work) // MOST_PARTS)))
    order = {id(one): place for place, one in enumerate(work)}
    result: list[list[Work]] = [[] for _ in range(count)]
    load = [0] * count
    for one in sorted(work, key=lambda part: -part.num_frames):
        not_full = [number for number in range(count) if len(result[number]) < MOST_PARTS]
        least = min(not_full, key=lambda number: (load[number], number))
        result[least].append(one)
        load[least] += one.num_frames
    return [sorted(batch, key=lambda part: order[id(part)]) for batch in result]
