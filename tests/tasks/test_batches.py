"""Work divided out over workers."""

from __future__ import annotations

import pytest

from bevformer_lib.pipeline.evaluate import EvaluateWork
from bevformer_lib.pipeline.inputs import SceneSource
from bevformer_lib.pipeline.work import Work
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.store.step import Artifact
from tasks.batches import BATCH_SECONDS, BATCHES_PER_WORKER, MOST_PARTS, batches
from tests.support.micro import micro_config

NEEDS = SceneRequirements.of_model(micro_config())
GRAPH = Artifact("model.onnx", "a" * 64, 1)


def scenes(*frames: int) -> list[Work]:
    return [
        EvaluateWork(
            SceneSource(Artifact(f"scene-{number:04d}", f"{number:064d}", 1, source="/scenes"), count),
            *(GRAPH, GRAPH, GRAPH, NEEDS, "onnxruntime", "cpu", None, GRAPH),
        )
        for number, count in enumerate(frames)
    ]


def frames(batch: list[Work]) -> int:
    return sum(work.scene.num_frames for work in batch if isinstance(work, EvaluateWork))


@pytest.mark.parametrize("workers", [0, 1, 2, 7, 64])
@pytest.mark.parametrize("count", [1, 3, 40, 1000])
def test_every_part_is_in_one_batch(count: int, workers: int) -> None:
    work = scenes(*[40] * count)
    divided = batches(work, workers)
    assert sorted(map(id, (part for batch in divided for part in batch))) == sorted(map(id, work))
    assert all(0 < len(batch) <= MOST_PARTS for batch in divided)
    assert len(divided) == min(count, max(-(-count // MOST_PARTS), workers * BATCHES_PER_WORKER if workers > 1 else 1))


def test_batches_take_about_the_same_time_and_keep_their_order() -> None:
    divided = batches(scenes(100, *[10] * 30, 50, 50), 1 + 1)
    work = [frames(batch) for batch in divided]
    assert max(work) == 100
    assert max(work[1:]) <= 50
    assert all(
        [part.step.part for part in batch] == sorted(part.step.part or "" for part in batch) for batch in divided
    )


def test_short_work_is_not_cut_finer_than_there_are_workers() -> None:
    work = scenes(*[40] * 64)
    assert len(batches(work, 8, 0.001)) == 8
    assert len(batches(work, 8, 1.0)) == 64 * 40 // BATCH_SECONDS
    assert len(batches(work, 2, 1000.0)) == 2 * BATCHES_PER_WORKER
