from __future__ import annotations

from bevformer_lib.report.lineage import LineageNode, lineage
from bevformer_lib.report.mermaid import mermaid_flowchart
from tests.report.examples import example_steps


def test_every_node_and_every_parent_once() -> None:
    nodes = [
        LineageNode("a", "checkpoint", "cd12", kind="input"),
        LineageNode("b", "export", parents=("a", "a")),
        LineageNode("c", "report", "3 scenes", parents=("a", "b"), kind="made"),
    ]
    assert mermaid_flowchart(nodes).splitlines() == [
        "```mermaid",
        "flowchart TD",
        '    n0(["checkpoint<br/>cd12"])',
        '    n1["export"]',
        "    n0 --> n1",
        '    n2[["report<br/>3 scenes"]]',
        "    n0 --> n2",
        "    n1 --> n2",
        "```",
    ]


def test_names_of_files_are_text() -> None:
    [label] = [line for line in mermaid_flowchart([LineageNode("a", '"]\n```<b>%%{x}')]).splitlines() if "n0" in line]
    assert label == '    n0["#34;#93;#10;#96;#96;#96;#60;b#62;#37;#37;#123;x#125;"]'


def test_the_ancestry_of_a_build() -> None:
    nodes = lineage(example_steps())
    chart = mermaid_flowchart(nodes)
    assert chart.count("-->") == sum(len(set(node.parents)) for node in nodes)
