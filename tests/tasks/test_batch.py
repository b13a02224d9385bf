"""What a machine says about itself counts, whatever a build was asked for."""

from __future__ import annotations

import dataclasses

import pytest

from bevformer_lib.pipeline.evaluate import EvaluateWork
from tasks.batch import _on_this_machine
from tests.pipeline.test_serialization import GRAPH, NEEDS, SCENE


def test_where_a_machine_runs_models(monkeypatch: pytest.MonkeyPatch) -> None:
    work = EvaluateWork(SCENE, GRAPH, GRAPH, GRAPH, NEEDS, "axengine", "cpu", 0.25, GRAPH, npu="board")
    for name in ("BEVFORMER_DEVICE", "BEVFORMER_NPU"):
        monkeypatch.delenv(name, raising=False)
    assert _on_this_machine(work) == work
    monkeypatch.setenv("BEVFORMER_DEVICE", "cuda")
    assert _on_this_machine(work) == dataclasses.replace(work, device="cuda")
    monkeypatch.setenv("BEVFORMER_NPU", "card:1")
    changed = _on_this_machine(work)
    assert changed == dataclasses.replace(work, device="cuda", npu="card:1")
    assert isinstance(changed, EvaluateWork) and changed.step.key == work.step.key
