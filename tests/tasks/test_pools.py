"""Which pool does a step."""

from __future__ import annotations

import pytest

from bevformer_lib.pipeline.check import CheckScenesWork
from bevformer_lib.pipeline.work import Work
from tests.pipeline.test_serialization import NEEDS, SCENE, WORK

POOLS = {
    "export": "gpu",
    "calibration-prev-bev": "gpu",
    "convert": "cpu",
    "ptq": "gpu",
    "record": "gpu",
    "record-diagnosis": "gpu",
    "evaluate": "edge",
    "diagnose": "edge",
    "tensors": "gpu",
}


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.step.title)
def test_what_needs_no_board_does_not_wait_for_one(work: Work) -> None:
    simulated = work.step.name in ("evaluate", "diagnose") and getattr(work, "runtime", None) == "pulsar2"
    assert work.pool == ("cpu" if simulated else POOLS[work.step.name])


def test_a_step_that_costs_little_stays_with_the_build() -> None:
    assert CheckScenesWork((SCENE,), NEEDS).pool is None
