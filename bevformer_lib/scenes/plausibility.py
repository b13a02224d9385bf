"""What is no defect of a scene's files, but of no drive either: worth a warning before hours of work."""

from __future__ import annotations

import filecmp
import logging
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from bevformer_lib.names import CAN_BUS_POSITION
from bevformer_lib.scenes.types import Frame, Scene

_log = logging.getLogger(__name__)

_FASTEST_MPS: Final = 100.0
_LONGEST_WAY_M: Final = 200.0
"""From one frame to the next, where no times are known; two seconds of the fastest drive."""
_NAMED: Final = 5
_MICROSECONDS: Final = 1e6


def warn_of_implausible(scenes: Sequence[Scene]) -> None:
    """Log a warning for what :func:`implausible` finds, the first few of each scene."""
    for scene in scenes:
        found = list(implausible(scene))
        for what in found[:_NAMED]:
            _log.warning("warning: %s", what)
        if len(found) > _NAMED:
            _log.warning("warning: scene %s: %d more like these", scene.name, len(found) - _NAMED)


def implausible(scene: Scene) -> Iterator[str]:
    """Yield what no drive has: times that go back or stand still, the same images again, a car that jumps."""
    for before, after in pairwise(scene.frames):
        named = f"{after.meta_path}: "
        seconds = _seconds(before, after)
        if seconds is not None and seconds <= 0.0:
            reason = "is that of the frame before" if seconds == 0.0 else "lies before that of the frame before"
            yield f"{named}its timestamp {reason}; frames have to be in time order"
        way_m = float(np.linalg.norm((after.can_bus_absolute - before.can_bus_absolute)[CAN_BUS_POSITION]))
        if way_m > (_LONGEST_WAY_M if seconds is None or seconds <= 0.0 else max(1.0, _FASTEST_MPS * seconds)):
            over = "" if seconds is None else f" in {seconds:g} s"
            yield f"{named}the car jumps by {way_m:,.0f} m{over} since the frame before; can_bus holds global metres"
        if _same_images(before, after):
            yield f"{named}all images are those of the frame before"


def _seconds(before: Frame, after: Frame) -> float | None:
    if before.timestamp_us is None or after.timestamp_us is None:
        return None
    return (after.timestamp_us - before.timestamp_us) / _MICROSECONDS


def _same_images(before: Frame, after: Frame) -> bool:
    both = zip(before.images, after.images, strict=False)
    pairs = [(one.path, other.path) for one, other in both if one.pixels is None]
    try:
        return bool(pairs) and all(filecmp.cmp(one, other, shallow=False) for one, other in pairs)
    except OSError:
        return False
