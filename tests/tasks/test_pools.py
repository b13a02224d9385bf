"""Which pool does a step."""

from __future__ import annotations

import pytest

from bevformer_lib.pipeline.check import CheckScenesWork
from bevformer_lib.pipeline.work import Work
from tasks.pools import DEPLOYMENTS, deployment_of
from tests.pipeline.test_serialization import NEEDS, SCENE, WORK


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.step.title)
def test_what_needs_no_board_does_not_wait_for_one(work: Work) -> None:
    runtime, deployment = getattr(work, "runtime", None), deployment_of(work)
    if work.step.name in ("evaluate", "diagnose"):
        assert deployment == ("evaluate/simulate" if runtime == "pulsar2" else "evaluate/evaluate")
    else:
        assert deployment == DEPLOYMENTS[work.step.name]


def test_a_step_that_costs_little_stays_with_the_build() -> None:
    assert deployment_of(CheckScenesWork((SCENE,), NEEDS)) is None
