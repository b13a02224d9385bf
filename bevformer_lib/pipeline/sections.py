"""The optional sections of a build's report, filled from what its steps put out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bevformer_lib.evaluate.score_shift import score_shifts
from bevformer_lib.evaluate.types import SceneEvaluation
from bevformer_lib.gates.judge import GateResult, Verdict
from bevformer_lib.report import numbers
from bevformer_lib.report.measures import score_shift_rows
from bevformer_lib.report.sections import (
    GateOutcome,
    GateSection,
    LatencySamples,
    LineageNode,
    ScoreShift,
)
from bevformer_lib.store.step import StepRecord

_DIGITS = 12


def gate_section(verdict: Verdict) -> GateSection:
    """Return the policy's verdict in the report's terms."""
    return GateSection(verdict.policy, [_outcome(result) for result in verdict.results], verdict.baseline)


def score_shifts_of(evaluations: Sequence[SceneEvaluation]) -> tuple[ScoreShift, ...] | None:
    """Return how scores moved by class; ``None`` where no box has a partner."""
    return score_shift_rows(score_shifts(evaluations)) or None


def latencies(evaluations: Sequence[SceneEvaluation], names: tuple[str, str]) -> tuple[LatencySamples, ...] | None:
    """Return the seconds of both models, without scenes' first frames (warm-up); ``None`` where there are no others."""
    frames = [frame.seconds for evaluation in evaluations for frame in evaluation.frames[1:]]
    if not frames:
        return None
    return (
        LatencySamples(names[0], [seconds.reference for seconds in frames]),
        LatencySamples(names[1], [seconds.candidate for seconds in frames]),
    )


def lineage(records: Mapping[str, StepRecord], ran: Mapping[str, bool]) -> tuple[LineageNode, ...]:
    """Return the build's ancestry; steps that are done once per scene are one node, and so are all scenes.

    Args:
        records: steps by identity, in the order of the build.
        ran: by identity, whether this build did the work.
    """
    nodes: dict[str, LineageNode] = {}
    groups: dict[str, list[str]] = {}
    for identity, record in records.items():
        groups.setdefault(record.step.name, []).append(identity)
    for name, identities in groups.items():
        steps = [records[identity] for identity in identities]
        parents = dict.fromkeys(key for record in steps for key in _parents(record, records, nodes))
        digest = steps[0].step.key[:_DIGITS]
        detail = digest if len(steps) == 1 else f"{numbers.count(len(steps), 'scene')}, each a step"
        changed = any(ran[identity] for identity in identities)
        nodes[name] = LineageNode(name, name, detail, tuple(parents), changed=changed)
    return tuple(nodes.values())


def _parents(record: StepRecord, records: Mapping[str, StepRecord], nodes: dict[str, LineageNode]) -> Iterator[str]:
    """Yield the keys of what a step is made from; inputs from outside become nodes when they are met first."""
    for role, artifact in record.step.inputs.items():
        maker = None if artifact.made_by is None else records.get(artifact.made_by)
        if maker is not None:
            yield maker.step.name
        elif artifact.made_by is None and role.split(" ")[0] == "scene":
            nodes.setdefault("scenes", LineageNode("scenes", "scenes", artifact.source or "", is_input=True))
            yield "scenes"
        else:
            title = artifact.name if artifact.made_by is None else f"{role} (published build)"
            nodes.setdefault(role, LineageNode(role, title, artifact.sha256[:_DIGITS], is_input=True))
            yield role


def _outcome(result: GateResult) -> GateOutcome:
    return GateOutcome(
        name=result.name,
        rule=result.rule,
        value=numbers.UNDEFINED if result.value is None else f"{result.value:.6g}",
        passed=result.passed is not False,
        worst_scene=result.worst_scene,
        cause=result.cause,
        reason=result.reason if result.passed is not True else "",
        baseline="" if result.baseline is None else f"{result.baseline:.6g}",
    )
