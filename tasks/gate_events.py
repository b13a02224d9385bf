"""The gates of a build as events, which Prefect's automations can react to."""

from __future__ import annotations

from typing import Final

from prefect.events import emit_event

from bevformer_lib.gates.judge import GateResult, Verdict
from bevformer_lib.pipeline.builds import Build

_OUTCOMES: Final = {True: "passed", False: "failed", None: "skipped"}


def emit_gates(build: Build, verdict: Verdict) -> None:
    """Emit ``bevformer.gate.passed``, ``.failed`` or ``.skipped`` for every gate of the build's policy.

    The event's resource is ``bevformer.gate.METRIC``, labelled with the build and the worst scene; its payload has the
    rule, the value, the bound, the published build's value and the usual cause.
    """
    for gate in verdict.results:
        emit_event(
            f"bevformer.gate.{_OUTCOMES[gate.passed]}",
            resource={
                "prefect.resource.id": f"bevformer.gate.{gate.name}",
                "prefect.resource.name": gate.name,
                "bevformer.model": build.name,
                "bevformer.build": build.identity,
                "bevformer.policy": verdict.policy,
                "bevformer.scene": gate.worst_scene,
            },
            payload=_payload(gate),
        )


def _payload(gate: GateResult) -> dict[str, object]:
    numbers = {"value": gate.value, "bound": gate.bound, "baseline": gate.baseline}
    return {"rule": gate.rule, **numbers, "reason": gate.reason, "cause": gate.cause, "text": str(gate)}
