"""A policy's verdict on what a build measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bevformer_lib.gates.expression import BASELINE, Expression
from bevformer_lib.gates.metrics import BuildMetrics, Metric
from bevformer_lib.gates.policy import Gate, Policy
from bevformer_lib.plain_data import to_plain


@dataclass(frozen=True)
class GateResult:
    """What became of one gate.

    Attributes:
        rule: what is asked of it, as people write it.
        value: what was found; ``None``: there was nothing to compute it from.
        bound: what it was compared with, as a number; ``None``: not known.
        baseline: the published build's value of the same metric; ``None``: there is none.
        passed: whether it holds; ``None``: it does not apply.
        worst_scene: where it is worst; empty where that is not known.
        reason: why it does not apply, or what is behind the value.
        cause: what usually makes it fail.
    """

    name: str
    rule: str
    value: float | None
    bound: float | None
    baseline: float | None
    passed: bool | None
    worst_scene: str = ""
    reason: str = ""
    cause: str = ""

    def __str__(self) -> str:
        """Say it in one line."""
        value = "nothing" if self.value is None else f"{self.value:.6g}"
        bound = f" ({self.bound:.6g})" if self.bound is not None and not self.rule.endswith(f" {self.bound:g}") else ""
        scene = f", worst in scene {self.worst_scene}" if self.worst_scene else ""
        reason = f": {self.reason}" if self.reason else ""
        return f"{self.name} is {value}, asked is {self.rule}{bound}{scene}{reason}"


@dataclass(frozen=True)
class Verdict:
    """A policy's verdict on a build.

    Attributes:
        baseline: id of the build that was compared with; empty: there is none.
        results: one per gate, in the policy's order.
    """

    policy: str
    baseline: str
    results: tuple[GateResult, ...]

    @property
    def failed(self) -> tuple[GateResult, ...]:
        """The gates that do not hold."""
        return tuple(result for result in self.results if result.passed is False)

    @property
    def counts(self) -> str:
        """How many gates hold, do not hold, and do not apply, for people."""
        hold = sum(result.passed is True for result in self.results)
        not_applicable = len(self.results) - hold - len(self.failed)
        return f"{hold} hold, {len(self.failed)} do not, {not_applicable} do not apply"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {**to_plain(self), "passed": not self.failed}


def judge(policy: Policy, build: BuildMetrics, baseline: BuildMetrics | None, *, baseline_id: str = "") -> Verdict:
    """Judge a build.

    Args:
        policy: its gates.
        build: its metrics.
        baseline: metrics of the published build; ``None``: nothing is published yet.
        baseline_id: id of that build.
    """
    unlike = _unlike(build, baseline)
    results = tuple(_judge(gate, build, baseline if not unlike else None, unlike) for gate in policy.gates)
    return Verdict(policy.name, baseline_id, results)


def _unlike(build: BuildMetrics, baseline: BuildMetrics | None) -> str:
    """Return why two builds' numbers can't be compared; empty where they can."""
    if baseline is None:
        return "there is no published build to compare with yet"
    if baseline.model != build.model:
        return f"the published build is of another model ({baseline.model})"
    if baseline.scenes != build.scenes:
        return "the published build was measured on other scenes"
    return ""


def _judge(gate: Gate, build: BuildMetrics, baseline: BuildMetrics | None, unlike: str) -> GateResult:
    asked = gate.expression
    found = build.metrics[asked.metric]
    before = None if baseline is None else baseline.metrics.get(asked.metric)
    start, start_scenes, reason = _start(asked, found, before, unlike)
    bound = asked.bound(start)
    result = GateResult(
        name=asked.metric,
        rule=asked.rule,
        value=found.value,
        bound=bound,
        baseline=None if before is None else before.value,
        passed=None,
        reason=found.note,
        cause=gate.cause,
    )
    if found.value is None or bound is None:
        reason = found.note if found.value is None else reason
        return dataclasses.replace(result, passed=False if gate.required else None, reason=reason)
    return dataclasses.replace(
        result, passed=asked.holds(found.value, bound), worst_scene=_worst_scene(asked, found.scenes, start_scenes)
    )


def _start(
    asked: Expression, found: Metric, before: Metric | None, unlike: str
) -> tuple[float | None, Mapping[str, float], str]:
    """Return what the bound starts from, over all scenes and in each, and why it is not known."""
    if asked.model is None:
        return None, {}, ""
    if asked.model == BASELINE:
        if before is None:
            return None, {}, unlike or "the published build did not measure it"
        return before.value, before.scenes, before.note
    return found.reference, found.reference_scenes, "the float model has no such value"


def _worst_scene(asked: Expression, scenes: Mapping[str, float], start: Mapping[str, float]) -> str:
    """Return the scene that is farthest on the wrong side: of the other model's value where one is asked for."""
    change = {name: value - start[name] for name, value in scenes.items() if name in start}
    margins = change if asked.model is not None and change else scenes
    return _extreme(margins, smallest=asked.more_is_better)


def _extreme(values: Mapping[str, float], *, smallest: bool) -> str:
    names: Sequence[str] = sorted(values, key=lambda name: values[name] if smallest else -values[name])
    return names[0] if names else ""
