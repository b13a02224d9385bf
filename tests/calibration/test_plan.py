from __future__ import annotations

from collections import Counter

import pytest

from bevformer_lib.calibration.plan import plan_samples
from bevformer_lib.errors import CalibrationError

TWO_SCENES = {"a": 12, "b": 12}
MANY_SCENES = {f"scene-{number:04d}": 40 for number in range(850)}


def _frames(counts: dict[str, int], num_samples: int, seed: int = 0) -> list[tuple[str, int]]:
    return [(sample.scene, sample.position) for sample in plan_samples(counts, num_samples, seed).samples]


@pytest.mark.parametrize("num_samples", [1, 2, 7, 23, 24])
def test_exact_count_without_duplicates_numbered_from_one(num_samples: int) -> None:
    plan = plan_samples(TWO_SCENES, num_samples, seed=3)
    assert [sample.number for sample in plan.samples] == list(range(1, num_samples + 1))
    assert len({(sample.scene, sample.position) for sample in plan.samples}) == num_samples
    assert all(0 <= sample.position < TWO_SCENES[sample.scene] for sample in plan.samples)


def test_the_choice_is_pinned() -> None:
    assert _frames(TWO_SCENES, 5) == [("a", 6), ("b", 6), ("a", 7), ("b", 0), ("b", 9)]


def test_the_choice_depends_on_the_seed_and_not_on_the_order_of_scenes() -> None:
    shuffled = dict(reversed(MANY_SCENES.items()))
    assert _frames(MANY_SCENES, 32) == _frames(shuffled, 32)
    assert _frames(MANY_SCENES, 32, seed=1) != _frames(MANY_SCENES, 32, seed=2)


def test_samples_spread_over_scenes() -> None:
    assert len({scene for scene, _ in _frames(MANY_SCENES, 32)}) == 32
    counts = {f"s{number}": 20 for number in range(8)}
    per_scene = Counter(scene for scene, _ in _frames(counts, 32))
    assert per_scene == Counter(dict.fromkeys(counts, 4))


@pytest.mark.parametrize(
    ("counts", "num_samples", "num_first"),
    [
        (MANY_SCENES, 32, 1),
        (MANY_SCENES, 400, 10),
        (TWO_SCENES, 12, 1),
        (TWO_SCENES, 24, 2),
        (TWO_SCENES, 2, 1),
        (TWO_SCENES, 1, 0),
        ({"a": 1, "b": 1, "c": 1}, 1, 1),
        ({"a": 1, "b": 1, "c": 2}, 3, 2),
    ],
)
def test_first_frames_in_proportion(counts: dict[str, int], num_samples: int, num_first: int) -> None:
    positions = [position for _, position in _frames(counts, num_samples)]
    assert positions.count(0) == num_first


def test_short_scenes_leave_their_share_to_the_others() -> None:
    per_scene = Counter(scene for scene, _ in _frames({"short": 2, "long": 100}, 10))
    assert per_scene["long"] >= 8
    assert sum(per_scene.values()) == 10


def test_no_bias_towards_early_frames() -> None:
    positions = Counter(position for seed in range(4000) for _, position in _frames({"a": 11}, 2, seed) if position)
    assert set(positions) == set(range(1, 11))
    assert max(positions.values()) < 1.25 * min(positions.values())


def test_any_prefix_holds_frames_of_many_scenes() -> None:
    counts = {f"s{number}": 20 for number in range(16)}
    assert len({scene for scene, _ in _frames(counts, 64)[:16]}) > 6


def test_positions_by_scene() -> None:
    plan = plan_samples(TWO_SCENES, 24, seed=0)
    assert plan.positions() == {"a": tuple(range(12)), "b": tuple(range(12))}


def test_more_samples_than_frames() -> None:
    with pytest.raises(CalibrationError, match="25 calibration samples asked for, but the 2 scenes hold 24 frames"):
        plan_samples(TWO_SCENES, 25, seed=0)


@pytest.mark.parametrize("num_samples", [0, -3])
def test_no_samples(num_samples: int) -> None:
    with pytest.raises(CalibrationError, match="ask for 1 or more"):
        plan_samples(TWO_SCENES, num_samples, seed=0)
