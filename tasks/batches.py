"""How a step's parts are shared out over workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bevformer_lib.pipeline.calibrate import PrevBevWork
from bevformer_lib.pipeline.evaluate import EvaluateWork
from bevformer_lib.pipeline.record import RecordWork
from bevformer_lib.pipeline.work import Work

SHARES_PER_WORKER: Final = 8
"""With fewer, workers wait for the slowest at the end; docs/scale.md has the simulation that these figures are from."""
SHARE_SECONDS: Final = 120.0
"""With shorter shares, starting runs (some 15 s with the models) costs more than an even end gains."""
MOST_PARTS: Final = 100
"""Of one share: keeps a run's parameters far below the server's limit of 512 KiB."""


def shares(work: Sequence[Work], num_workers: int, seconds_per_frame: float | None = None) -> list[list[Work]]:
    """Share work out so that every share takes about the same time; the largest parts are given away first.

    A lone worker gets all in one share, since there is nobody to share with and every run costs a start.

    Args:
        work: parts that don't need each other.
        num_workers: workers that may take a share.
        seconds_per_frame: as it was the last time; ``None``: unknown.
    """
    wanted = 1
    if num_workers > 1:
        most = num_workers * SHARES_PER_WORKER
        long = most if seconds_per_frame is None else int(sum(map(_frames, work)) * seconds_per_frame / SHARE_SECONDS)
        wanted = min(most, max(num_workers, long))
    count = min(len(work), max(wanted, -(-len(work) // MOST_PARTS)))
    order = {id(one): place for place, one in enumerate(work)}
    result: list[list[Work]] = [[] for _ in range(count)]
    frames = [0] * count
    for one in sorted(work, key=lambda part: -_frames(part)):
        open_shares = [number for number in range(count) if len(result[number]) < MOST_PARTS]
        least = min(open_shares, key=lambda number: (frames[number], number))
        result[least].append(one)
        frames[least] += _frames(one)
    return [sorted(share, key=lambda part: order[id(part)]) for share in result]


def _frames(work: Work) -> int:
    """Return how many frames have to be run, which is what the time goes with."""
    if isinstance(work, PrevBevWork):
        return max(1, max(work.positions))
    return work.scene.num_frames if isinstance(work, EvaluateWork | RecordWork) else 1
