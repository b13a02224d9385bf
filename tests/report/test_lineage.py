from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from bevformer_lib.report.content import ReportStep
from bevformer_lib.report.lineage import LineageNode, lineage, lineage_graph, placed
from bevformer_lib.store.step import Artifact, Step
from tests.report.examples import example_steps, recorded


def nodes(text: str) -> list[LineageNode]:
    """From "a b<a c<a,b": nodes with their parents."""
    return [
        LineageNode(name, name.upper(), parents=tuple(filter(None, parents.split(","))))
        for name, _, parents in (word.partition("<") for word in text.split())
    ]


@pytest.mark.parametrize(
    ("text", "lanes"),
    [
        ("a b<a c<b", [0, 0, 0]),
        ("a b c<a,b", [0, 1, 0]),
        ("a b<a c<a d<b,c", [0, 1, 0, 0]),
        ("a b c<a d<b e<c,d", [0, 1, 0, 1, 0]),
        ("a b", [0, 0]),
    ],
)
def test_lanes(text: str, lanes: list[int]) -> None:
    assert [place.lane for place in placed(nodes(text))] == lanes


def test_no_rail_runs_through_a_node() -> None:
    places = {place.node.key: place for place in placed(lineage(example_steps()))}
    for child in places.values():
        for parent in (places[key] for key in child.node.parents):
            between = [one for one in places.values() if parent.row < one.row < child.row]
            assert all(one.lane != parent.lane for one in between)


def test_every_parent_is_joined_and_said() -> None:
    drawn = ET.fromstring(lineage_graph(nodes("a b c<a,b")))  # noqa: S314 (our own markup)
    assert len([path for path in drawn.iter("path") if path.get("class") == "rail"]) == 2
    assert "C from A, B" in drawn.find("svg").get("aria-label")


def test_long_names_are_cut_and_kept_as_tooltip() -> None:
    name = "x" * 300
    drawn = ET.fromstring(lineage_graph([LineageNode("a", name, detail=name)]))  # noqa: S314
    for text in drawn.iter("text"):
        assert len(text.text) < 60 and text.text.endswith("…")
        assert text.findtext("title") == name


@pytest.mark.parametrize(("text", "said"), [("a<b b", "doesn't come before"), ("a a", "twice")])
def test_impossible_lineages(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        placed(nodes(text))


def test_steps_that_are_done_per_scene_are_one_node() -> None:
    checkpoint = Artifact("checkpoint.pth", "cd" * 32, 1, source="/data/checkpoint.pth")
    scenes = [Artifact(f"scene-{n}", f"{n}f" * 32, 1, source="/data/scenes") for n in range(3)]
    export = recorded(Step("export", 1, {"checkpoint": checkpoint}), "model.onnx")
    graph = export.outputs["model.onnx"]
    evaluations = [
        recorded(Step("evaluate", 1, {"reference": graph, "scene": scene}, part=scene.name), "evaluation.json")
        for scene in scenes[:2]
    ]
    inputs = {f"{n}": one.outputs["evaluation.json"] for n, one in enumerate(evaluations)}
    inputs |= {f"scene {scene.name}": scene for scene in scenes}
    inputs["baseline"] = Artifact("build_metrics.json", "ef" * 32, 1, made_by="gates/of-another-build")
    report = recorded(Step("report", 1, inputs), "report.html")
    steps = [ReportStep(one, one is not export, "") for one in (export, *evaluations, report)]
    nodes = {node.key: node for node in lineage(steps)}
    assert list(nodes) == ["checkpoint", "export", "scenes", "evaluate", "baseline", "report"]
    assert nodes["evaluate"].parents == ("export", "scenes")
    assert nodes["evaluate"].detail.startswith("2")
    assert nodes["report"].parents == ("evaluate", "scenes", "baseline")
    assert (nodes["export"].kind, nodes["evaluate"].kind, nodes["scenes"].kind) == ("kept", "made", "input")
    assert "published build" in nodes["baseline"].title
    assert placed(tuple(nodes.values()))
