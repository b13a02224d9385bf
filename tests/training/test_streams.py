from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch

from bevformer_lib.names import CAN_BUS_YAW_RAD
from bevformer_lib.scenes.ego import can_bus_delta
from bevformer_lib.training.streams import FramePlace, StreamSampler, batches_ahead, read_batch, turned_can_bus
from tests.training.toy import noise_pool, toy_config


def test_every_stream_goes_through_its_scene_and_begins_another(tmp_path: Path) -> None:
    pool = noise_pool(tmp_path / "pool", toy_config(tmp_path), scenes=3, frames=4)
    sampler = StreamSampler(pool, streams=5, seed=1, dropped_history=0.0)
    sampler.restart(0)

    steps = [sampler.next_places() for _ in range(12)]

    for before, after in itertools.pairwise(steps):
        for earlier, later in zip(before, after, strict=True):
            if later.begins:
                assert earlier.frame == 3 and later.frame == 0
            else:
                assert (later.scene, later.frame, later.heading_rad) == (
                    earlier.scene,
                    earlier.frame + 1,
                    earlier.heading_rad,
                )
    assert all(place.begins for place in steps[0])


def test_what_follows_a_restart_depends_on_the_step_alone(tmp_path: Path) -> None:
    pool = noise_pool(tmp_path / "pool", toy_config(tmp_path))
    one, other = (StreamSampler(pool, streams=3, seed=1, dropped_history=0.2) for _ in range(2))
    one.restart(0)
    for _ in range(7):
        one.next_places()
    one.restart(8)
    other.restart(8)

    assert [one.next_places() for _ in range(6)] == [other.next_places() for _ in range(6)]


def test_a_dropped_history_looks_like_a_scene_s_first_frame(tmp_path: Path) -> None:
    pool = noise_pool(tmp_path / "pool", toy_config(tmp_path))

    batch = read_batch(pool, [FramePlace(0, 2, begins=True), FramePlace(0, 2, begins=False)])

    assert batch.has_history.flatten().tolist() == [0.0, 1.0]
    absolute = pool.read(0).can_bus_absolute
    np.testing.assert_allclose(batch.can_bus[0], can_bus_delta(absolute[2], None), rtol=1e-6)
    np.testing.assert_allclose(batch.can_bus[1], can_bus_delta(absolute[2], absolute[1]), rtol=1e-6)


def test_boxes_are_padded_to_the_frame_with_most(tmp_path: Path) -> None:
    pool = noise_pool(tmp_path / "pool", toy_config(tmp_path))

    batch = read_batch(pool, [FramePlace(0, 1, begins=True), FramePlace(2, 3, begins=True)])

    codes, labels = pool.read(0).boxes_of(1)
    assert batch.boxes.shape == (2, 5, 10)
    np.testing.assert_array_equal(batch.boxes[0, :3], codes)
    assert batch.labels[0].tolist() == [*labels.tolist(), -1, -1]
    np.testing.assert_array_equal(batch.images[1], pool.read(2).images[3])


def test_batches_made_ahead_are_those_of_the_sampler(tmp_path: Path) -> None:
    pool = noise_pool(tmp_path / "pool", toy_config(tmp_path))
    sampler, expected = (StreamSampler(pool, streams=2, seed=4, dropped_history=0.0) for _ in range(2))

    batches = batches_ahead(pool, sampler, first_step=3, restart_steps=4)
    found = [next(batches) for _ in range(3)]
    batches.close()

    for step, batch in zip((3, 4, 5), found, strict=True):
        if step in (3, 4):
            expected.restart(step)
        torch.testing.assert_close(batch.images, read_batch(pool, expected.next_places()).images)


def test_a_turned_world_is_the_same_drive_in_another_direction() -> None:
    previous, current = np.zeros(18), np.zeros(18)
    current[:2], current[CAN_BUS_YAW_RAD], current[17] = (3.0, 0.0), 0.1, np.rad2deg(0.1)
    current[13] = 6.0

    turned = turned_can_bus(can_bus_delta(current, previous), np.pi / 2)

    np.testing.assert_allclose(turned[:2], (0.0, 3.0), atol=1e-12)
    np.testing.assert_allclose(turned[CAN_BUS_YAW_RAD], 0.1 + np.pi / 2)
    np.testing.assert_allclose(turned[3:7], np.cos((0.1 + np.pi / 2) / 2))
    np.testing.assert_allclose(turned[[13, 17]], (6.0, np.rad2deg(0.1)))
