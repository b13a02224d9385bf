"""Verdicts: which gates hold, where it is worst, and where a gate does not apply."""

from __future__ import annotations

import json
import re

import pytest

from bevformer_lib.gates.judge import GateResult, Verdict, judge
from bevformer_lib.gates.metrics import BuildMetrics, Metric
from bevformer_lib.gates.policy import Policy
from bevformer_lib.plain_data import from_plain


def metrics(model: str = "micro", scenes: dict[str, str] | None = None, **named: Metric) -> BuildMetrics:
    found = {name.replace("__", "."): metric for name, metric in named.items()}
    return BuildMetrics(model, scenes or {"a": "1", "b": "2"}, found)


def one(gate: str, found: BuildMetrics, baseline: BuildMetrics | None = None, *, required: bool = False) -> GateResult:
    policy = Policy.model_validate({"name": "p", "gates": [{"gate": gate, "required": required, "cause": "why"}]})
    [result] = judge(policy, found, baseline, baseline_id="b1" if baseline else "").results
    return result


COSINE = Metric(0.98, {"a": 0.99, "b": 0.97})


@pytest.mark.parametrize(
    ("gate", "passed", "worst"),
    [
        ("x >= 0.98", True, "b"),
        ("x > 0.98", False, "b"),
        ("x <= 0.9", False, "a"),
    ],
)
def test_numbers(gate: str, passed: bool, worst: str) -> None:
    result = one(gate, metrics(x=COSINE))
    assert (result.passed, result.worst_scene, result.value) == (passed, worst, 0.98)


def test_the_worst_scene_is_the_one_that_lost_most() -> None:
    before = metrics(x=Metric(0.9, {"a": 0.99, "b": 0.5}))
    found = metrics(x=Metric(0.8, {"a": 0.6, "b": 0.5}))
    result = one("x >= baseline - 0.01", found, before)
    assert (result.passed, result.worst_scene, result.baseline) == (False, "a", 0.9)
    assert result.bound == pytest.approx(0.89)
    assert str(result) == "x is 0.8, asked is >= baseline - 0.01 (0.89), worst in scene a"


def test_against_the_float_model() -> None:
    found = metrics(x=Metric(0.3, {"a": 0.3}, reference=0.31, reference_scenes={"a": 0.31}))
    assert one("x >= reference - 0.02", found).passed
    assert one("x >= reference", found).passed is False


@pytest.mark.parametrize(
    ("gate", "found", "before", "reason"),
    [
        ("x >= 0", metrics(x=Metric(None, note="no annotations")), None, "no annotations"),
        ("x >= baseline", metrics(x=COSINE), None, "no published build"),
        ("x >= baseline", metrics(x=COSINE), metrics(model="base", x=COSINE), r"another model \(base\)"),
        ("x >= baseline", metrics(x=COSINE), metrics(scenes={"a": "9"}, x=COSINE), "other scenes"),
        ("x >= baseline", metrics(x=COSINE), metrics(y=COSINE), "did not measure it"),
        ("x >= baseline", metrics(x=COSINE), metrics(x=Metric(None, note="no devkit")), "no devkit"),
        ("x >= reference", metrics(x=COSINE), None, "float model has no such value"),
    ],
)
def test_what_can_not_be_computed_does_not_apply_unless_required(
    gate: str, found: BuildMetrics, before: BuildMetrics | None, reason: str
) -> None:
    free, required = one(gate, found, before), one(gate, found, before, required=True)
    assert free.passed is None
    assert required.passed is False
    for result in (free, required):
        assert re.search(reason, result.reason)


def test_a_verdict_goes_to_json_and_back() -> None:
    policy = Policy.model_validate({"name": "p", "gates": ["x >= 0.99", "y >= 0"]})
    verdict = judge(policy, metrics(x=COSINE, y=Metric(None, note="n")), None)
    assert [result.name for result in verdict.failed] == ["x"]
    content = json.loads(json.dumps(verdict.to_dict()))
    assert content["passed"] is False
    assert from_plain(Verdict, content) == verdict
