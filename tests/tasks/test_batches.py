"""Work shared out over workers."""

from __future__ import annotations

import pytest

from bevformer_lib.pipeline.evaluate import EvaluateWork
from bevformer_lib.pipeline.inputs import SceneSource
from bevformer_lib.pipeline.work import Work
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.store.step import Artifact
from tasks.batches import MOST_PARTS, SHARE_SECONDS, SHARES_PER_WORKER, shares
from tests.support.micro import micro_config

NEEDS = SceneRequirements.of_model(micro_config())
GRAPH = Artifact("model.onnx", "a" * 64, 1)


def scenes(*frames: int) -> list[Work]:
    return [
        EvaluateWork(
            SceneSource(Artifact(f"scene-{number:04d}", f"{number:064d}", 1, source="/scenes"), count),
            *(GRAPH, GRAPH, GRAPH, NEEDS, "onnxruntime", "cpu", None),
        )
        for number, count in enumerate(frames)
    ]


def frames(share: list[Work]) -> int:
    return sum(work.scene.num_frames for work in share if isinstance(work, EvaluateWork))


@pytest.mark.parametrize("workers", [0, 1, 2, 7, 64])
@pytest.mark.parametrize("count", [1, 3, 40, 1000])
def test_every_part_is_in_one_share(count: int, workers: int) -> None:
    work = scenes(*[40] * count)
    shared = shares(work, workers)
    titles = sorted(part.step.title for share in shared for part in share)
    assert titles == sorted(part.step.title for part in work)
    assert all(0 < len(share) <= MOST_PARTS for share in shared)
    assert len(shared) == min(count, max(-(-count // MOST_PARTS), workers * SHARES_PER_WORKER if workers > 1 else 1))


def test_shares_take_about_the_same_time_and_keep_their_order() -> None:
    shared = shares(scenes(100, *[10] * 30, 50, 50), 1 + 1)
    work = [frames(share) for share in shared]
    assert max(work) == 100
    assert max(work[1:]) <= 50
    assert all([part.step.part for part in share] == sorted(part.step.part or "" for part in share) for share in shared)


def test_short_work_is_not_cut_finer_than_there_are_workers() -> None:
    work = scenes(*[40] * 64)
    assert len(shares(work, 8, 0.001)) == 8
    assert len(shares(work, 8, 1.0)) == 64 * 40 // SHARE_SECONDS
    assert len(shares(work, 2, 1000.0)) == 2 * SHARES_PER_WORKER
