"""Which images of the cameras make up a frame, by their time stamps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bevformer_lib.recordings.transforms import nearest_index


@dataclass
class Synchronized:
    """Frames, and what was left out.

    Attributes:
        frames: per frame the position of each camera's image among those that were given; in time order.
        late: images of the first camera that are not newer than the frame before.
        without: camera -> images of the first one to which it has none near enough.
    """

    frames: list[tuple[int, ...]] = field(default_factory=list)
    late: int = 0
    without: Counter[int] = field(default_factory=Counter)


def synchronize(stamps_ns: Sequence[Sequence[int]], *, tolerance_ns: int, interval_ns: int = 0) -> Synchronized:
    """Put images together: to each of the first camera, the nearest of the others, none of them twice.

    A frame that lacks a camera is dropped, and one that is not newer than the last is late: both are left out, as a
    detector in a car leaves them out.

    Args:
        stamps_ns: per camera the times of its images, in the order in which they were recorded.
        tolerance_ns: how far an image's time may be from the first camera's.
        interval_ns: frames that come earlier than this after the last one are passed over, give or take the tolerance.
    """
    result = Synchronized()
    orders = [np.argsort(np.array(stamps, np.int64), kind="stable") for stamps in stamps_ns]
    in_order = [np.array(stamps, np.int64)[order] for stamps, order in zip(stamps_ns, orders, strict=True)]
    last_ns: int | None = None
    used = [-1] * len(stamps_ns)
    for first, stamp_ns in enumerate(stamps_ns[0]):
        if last_ns is not None and stamp_ns <= last_ns:
            result.late += 1
            continue
        if last_ns is not None and interval_ns and stamp_ns - last_ns < interval_ns - tolerance_ns:
            continue
        positions = [nearest_index(stamps, stamp_ns) if len(stamps) else -1 for stamps in in_order[1:]]
        lacking = [
            camera
            for camera, position in enumerate(positions, start=1)
            if position <= used[camera] or abs(int(in_order[camera][position]) - stamp_ns) > tolerance_ns
        ]
        if lacking:
            result.without.update(lacking)
            continue
        used[1:] = positions
        last_ns = stamp_ns
        others = (int(orders[camera][position]) for camera, position in enumerate(positions, start=1))
        result.frames.append((first, *others))
    return result
