"""Which frames a calibration set holds, decided before anything is run.

The choice rests on sha256 of (seed, scene, position) alone: it does not depend on the order of the scenes, on the
platform, or on a random generator whose stream may change between versions.

A frame's cost is that of the frames before it in its scene, since the prev_bev state has to be computed. Taking early
frames would be cheaper, but they are not like the others: the state builds up over the first frames of a
scene, so a set of early frames understates the range of ``prev_bev`` and of all that is made of it. So, inside a
scene, every frame that has a state is equally likely.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bevformer_lib.errors import CalibrationError


@dataclass(frozen=True)
class PlannedSample:
    """A frame of the calibration set.

    Attributes:
        number: 1..N, its name in the archives.
        position: its place in the scene, 0 for the first frame (which is fed no state).
    """

    number: int
    scene: str
    position: int


@dataclass(frozen=True)
class CalibrationPlan:
    """The chosen frames of a calibration set.

    Attributes:
        samples: the choice, in the order of the numbers.
    """

    num_samples: int
    seed: int
    samples: tuple[PlannedSample, ...]

    def positions(self) -> dict[str, tuple[int, ...]]:
        """Return the chosen positions of every scene that holds one, ascending; scenes in order of their names."""
        found: dict[str, list[int]] = {}
        for sample in self.samples:
            found.setdefault(sample.scene, []).append(sample.position)
        return {scene: tuple(sorted(found[scene])) for scene in sorted(found)}


def plan_samples(scene_frame_counts: Mapping[str, int], num_samples: int, seed: int) -> CalibrationPlan:
    """Choose the frames of a calibration set.

    First frames (without prev_bev state) are taken in proportion to their share of all frames, at least one of them
    in a set of two or more. The others go to the scenes in turn, to those that hold fewest first: a scene is one
    place, weather and hour, and variety is worth more than weight. Numbers are given in shuffled order, so that a
    converter that reads only the first few gets a fair sample too.

    Args:
        scene_frame_counts: number of frames of every scene, each at least 1.
        num_samples: size of the set.
        seed: another seed gives another choice.

    Raises:
        CalibrationError: fewer than one sample is asked for, or more than there are frames.
    """
    total = sum(scene_frame_counts.values())
    if num_samples < 1:
        raise CalibrationError(f"{num_samples} calibration samples asked for; ask for 1 or more")
    if num_samples > total:
        raise CalibrationError(
            f"{num_samples} calibration samples asked for, but the {len(scene_frame_counts)} scenes hold "
            f"{total} frames; add scenes, or ask for {total} samples or fewer"
        )
    num_first = _number_of_first_frames(len(scene_frame_counts), total, num_samples)
    first_scenes = _shuffled(seed, "first", ((scene, 0) for scene in scene_frame_counts))[:num_first]
    chosen = list(first_scenes)
    shares = _shares(scene_frame_counts, {scene for scene, _ in first_scenes}, num_samples - num_first, seed)
    for scene, share in shares.items():
        later_frames = ((scene, position) for position in range(1, scene_frame_counts[scene]))
        chosen += _shuffled(seed, "frame", later_frames)[:share]
    numbered = enumerate(_shuffled(seed, "number", chosen), start=1)
    return CalibrationPlan(num_samples, seed, tuple(PlannedSample(number, *frame) for number, frame in numbered))


def _number_of_first_frames(num_scenes: int, num_frames: int, num_samples: int) -> int:
    """Return how many samples are first frames; the rest is never more than the frames with a prev_bev state."""
    in_proportion = (2 * num_samples * num_scenes + num_frames) // (2 * num_frames)
    at_least = 1 if num_samples > 1 else 0
    return max(in_proportion, at_least, num_samples - (num_frames - num_scenes))


def _shares(
    scene_frame_counts: Mapping[str, int], scenes_with_first: set[str], num_samples: int, seed: int
) -> dict[str, int]:
    """Give out ``num_samples`` frames with a prev_bev state: always to the scene that holds the fewest samples."""
    order = [scene for scene, _ in _shuffled(seed, "scene", ((scene, 0) for scene in scene_frame_counts))]
    shares = dict.fromkeys(order, 0)
    level, left = 0, num_samples
    while left:
        level += 1
        for scene in order:
            held = shares[scene] + (scene in scenes_with_first)
            if left and held < level and shares[scene] < scene_frame_counts[scene] - 1:
                shares[scene] += 1
                left -= 1
    return shares


def _shuffled(seed: int, purpose: str, frames: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return frames in an order that is random in ``seed`` and ``purpose`` and does not depend on theirs."""

    def key(frame: tuple[str, int]) -> bytes:
        scene, position = frame
        return hashlib.sha256(f"{seed}\0{purpose}\0{scene}\0{position}".encode()).digest()

    return sorted(frames, key=key)
