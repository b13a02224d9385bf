"""The optional sections of a build's report, filled from what its steps put out."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from bevformer_lib.detections.types import SceneEvaluation
from bevformer_lib.evaluate.score_shift import score_shifts
from bevformer_lib.gates.judge import GateResult, Verdict
from bevformer_lib.pipeline.convert import CONVERSION_FACTS
from bevformer_lib.pipeline.inputs import open_artifact
from bevformer_lib.report import numbers
from bevformer_lib.report.measures import score_shift_rows
from bevformer_lib.report.sections import (
    ConversionSection,
    GateOutcome,
    GateSection,
    LineageNode,
    OperatorPrecision,
    ScoreShift,
)
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import StepRecord

_DIGITS = 12


def gate_section(verdict: Verdict) -> GateSection:
    """Return the policy's verdict in the report's terms."""
    return GateSection(verdict.policy, [_outcome(result) for result in verdict.results], verdict.baseline)


def conversion_section(store: Store, records: Mapping[str, StepRecord]) -> ConversionSection | None:
    """Return what the converter built; ``None`` where it left no facts behind, as the embedded quantiser does."""
    facts = next((one.outputs[CONVERSION_FACTS] for one in records.values() if CONVERSION_FACTS in one.outputs), None)
    if facts is None:
        return None
    content = json.loads(open_artifact(store, facts).read_text(encoding="utf-8"))
    rows = [
        OperatorPrecision(
            row["operator"], row["kind"], row["tensor"], row["quantized_dtype"], row["cosine"], row["mse"]
        )
        for row in content["precision_table"]
    ]
    tool = content["tool"]
    return ConversionSection(
        tool=f"Pulsar2 {tool['version']} ({tool['kind']}: {tool['location']})",
        max_cycle=content["max_cycle"],
        macs=content["macs"],
        types=dict(sorted(Counter(row.built_as for row in rows).items())),
        operators=sorted(rows, key=lambda row: math.inf if row.cosine is None else row.cosine),
        findings=content["findings"],
    )


def score_shifts_of(evaluations: Sequence[SceneEvaluation]) -> tuple[ScoreShift, ...] | None:
    """Return how scores moved by class; ``None`` where no box has a partner."""
    return score_shift_rows(score_shifts(evaluations)) or None


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
