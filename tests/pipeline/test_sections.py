"""The report's sections, filled from a build."""

from __future__ import annotations

from bevformer_lib.evaluate.summary import summarize
from bevformer_lib.gates.judge import GateResult, Verdict
from bevformer_lib.pipeline.sections import gate_section, lineage
from bevformer_lib.report.lineage import placed
from bevformer_lib.report.verdict import verdict
from bevformer_lib.store.step import Artifact, Step, StepRecord
from tests.evaluate.examples import make_scene


def record(step: Step, *outputs: str) -> StepRecord:
    made_by = f"{step.kind}/{step.key}"
    made = {name: Artifact(name, "ab" * 32, 1, made_by=made_by) for name in outputs}
    return StepRecord(step, made, {}, 1.0, "2025-01-01T00:00:00+00:00", "0")


def test_steps_that_are_done_per_scene_are_one_node() -> None:
    checkpoint = Artifact("checkpoint.pth", "cd" * 32, 1, source="/data/checkpoint.pth")
    scenes = [Artifact(f"scene-{n}", f"{n}f" * 32, 1, source="/data/scenes") for n in range(3)]
    export = record(Step("export", 1, {"checkpoint": checkpoint}), "model.onnx")
    graph = export.outputs["model.onnx"]
    evaluations = [
        record(Step("evaluate", 1, {"reference": graph, "scene": scene}, part=scene.name), "evaluation.json")
        for scene in scenes[:2]
    ]
    inputs = {f"{n}": one.outputs["evaluation.json"] for n, one in enumerate(evaluations)}
    inputs |= {f"scene {scene.name}": scene for scene in scenes}
    inputs["baseline"] = Artifact("build_metrics.json", "ef" * 32, 1, made_by="gates/of-another-build")
    report = record(Step("report", 1, inputs), "report.html")
    records = {one.identity: one for one in (export, *evaluations, report)}
    ran = {identity: identity != export.identity for identity in records}
    nodes = {node.key: node for node in lineage(records, ran)}
    assert list(nodes) == ["checkpoint", "export", "scenes", "evaluate", "baseline", "report"]
    assert nodes["evaluate"].parents == ("export", "scenes")
    assert nodes["evaluate"].detail.startswith("2")
    assert nodes["report"].parents == ("evaluate", "scenes", "baseline")
    assert (nodes["export"].changed, nodes["evaluate"].changed) == (False, True)
    assert "published build" in nodes["baseline"].title
    assert placed(tuple(nodes.values()))


def test_gates_that_do_not_apply_have_not_failed() -> None:
    results = (
        GateResult("metrics.mAP", ">= baseline", None, None, None, None, reason="no annotations"),
        GateResult("latency.p95_ms", "<= 100", None, 100.0, None, False, reason="no second frame"),
        GateResult("fidelity.bev_embed.cosine", ">= 0.9", 0.95, 0.9, 0.96, True, worst_scene="a", reason="a note"),
    )
    section = gate_section(Verdict("night", "b1", results))
    assert [outcome.name for outcome in section.failed] == ["latency.p95_ms"]
    assert [outcome.name for outcome in section.applied] == ["latency.p95_ms", "fidelity.bev_embed.cosine"]
    assert section.outcomes[2].baseline == "0.96"
    passing = gate_section(Verdict("night", "b1", (results[0], results[2])))
    evaluations = [make_scene("a", 3)]
    said = verdict(summarize(evaluations), reference_name="float model", candidate_name="INT8 model", gates=passing)
    assert said[0] == "The INT8 model passes all 1\u00a0gate that apply; 1 more had nothing to be computed from."
