"""The one sentence of a gate."""

from __future__ import annotations

import pytest

from bevformer_lib.gates.expression import parse


@pytest.mark.parametrize(
    ("text", "rule", "other", "bound"),
    [
        ("fidelity.bev_embed.cosine >= 0.99", ">= 0.99", None, 0.99),
        ("latency.p95_ms<=100", "<= 100", None, 100.0),
        ("metrics.mAP >= baseline - 0.01", ">= baseline - 0.01", 0.25, 0.24),
        ("metrics.mAP > reference", "> reference", 0.25, 0.25),
        ("latency.p95_ms < baseline * 1.2", "< baseline * 1.2", 50.0, 60.0),
        ("metrics.mATE <= reference + 5e-2", "<= reference + 0.05", 0.5, 0.55),
        ("x >= -1.5", ">= -1.5", None, -1.5),
    ],
)
def test_what_is_understood(text: str, rule: str, other: float | None, bound: float) -> None:
    gate = parse(text)
    assert gate.rule == rule
    assert gate.bound(other) == pytest.approx(bound)
    assert gate.more_is_better == (">" in text)


def test_without_the_other_value_there_is_no_bound() -> None:
    assert parse("metrics.mAP >= baseline - 0.01").bound(None) is None


@pytest.mark.parametrize(
    ("comparison", "holds"), [("<", (True, False, False)), ("<=", (True, True, False)), (">", (False, False, True))]
)
def test_comparisons(comparison: str, holds: tuple[bool, bool, bool]) -> None:
    gate = parse(f"x {comparison} 2")
    assert tuple(gate.holds(value, 2.0) for value in (1.0, 2.0, 3.0)) == holds
    assert not gate.holds(float("nan"), 2.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "metrics.mAP",
        "metrics.mAP == 0.3",
        "metrics.mAP >= 0.3 and x > 1",
        "metrics.mAP >= other - 0.1",
        "metrics.mAP >= baseline / 2",
        "metrics.mAP >= baseline - baseline",
        "metrics.mAP >= nan",
        "metrics.mAP >= 1e999",
        "__import__('os').system('true') >= 0",
        "metrics.mAP >= (0.3)",
        "x" * 300 + " >= 1",
    ],
)
def test_nothing_else_is_understood(text: str) -> None:
    with pytest.raises(ValueError, match="is not understood"):
        parse(text)
