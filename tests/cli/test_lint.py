from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import helper

from tests.export.graphs import model_of
from tests.support.commands import bevformer


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A graph with two errors and a warning for AX650."""
    nodes = [
        helper.make_node("LpNormalization", ["x"], ["minus"], "/layers.0/Norm"),
        helper.make_node("LpNormalization", ["minus"], ["y"], "/layers.1/Norm"),
    ]
    path = tmp_path / "m.onnx"
    onnx.save(model_of(nodes, {"x": (2, 3)}, {"y": (2, 3)}, domains=["com.microsoft"]), str(path))
    return path


def test_errors_are_printed_with_node_reason_and_remedy_and_fail(
    graph: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bevformer("lint", graph, "--target", "AX650") == 1
    out, err = capsys.readouterr()
    assert (
        "error: [fails] LpNormalization '/layers.0/Norm'\n  why: whatever its attributes: an internal error ended the "
        "build\n  known: seen in the compiler, Pulsar2 6.0\n  what to do: run the passes (bevformer repair): "
        "Div by ReduceL2 or a sum" in out
    )
    assert "warning: [unused-domain] 'hand_made'\n" in out
    assert f"{graph} for AX650: nodes: 2, errors: 2, warnings: 1, waived: 0" in out
    assert err == f"error: {graph}: the converter for AX650 won't accept the graph (errors: 2)\n"


def test_an_operator_that_is_only_not_listed_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "neg.onnx"
    onnx.save(model_of([helper.make_node("Neg", ["x"], ["y"], "minus")], {"x": (2, 3)}, {"y": (2, 3)}), str(path))
    assert bevformer("lint", path, "--target", "AX650") == 0
    assert "warning: [operator] Neg 'minus'" in capsys.readouterr().out
    assert bevformer("lint", path, "--target", "AX615") == 0
    assert "Neg" not in capsys.readouterr().out


def test_waivers_let_findings_pass_by_name(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = ("lint", graph, "--target", "AX650", "--waive", "fails:/layers.0/Norm")
    assert bevformer(*one) == 1
    assert bevformer(*one, "--waive", "fails:/layers.1/Norm", "--waive", "rank") == 0
    out = capsys.readouterr().out
    assert "waived: [fails] LpNormalization '/layers.1/Norm'" in out
    assert "waived without need: rank" in out
    assert bevformer("lint", graph, "--target", "AX650", "--waive", "fails") == 0


def test_json_holds_every_finding(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer("lint", graph, "--target", "AX650", "--json", "--waive", "fails:/layers.0/Norm") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["target"], report["errors"], report["warnings"]) == ("AX650", 1, 1)
    assert [(entry["node"], entry["severity"], entry["waived"]) for entry in report["findings"]] == [
        ("/layers.1/Norm", "error", False),
        ("hand_made", "warning", False),
        ("/layers.0/Norm", "error", True),
    ]
    assert report["findings"][0]["evidence"] == {"level": "seen in the compiler", "version": "6.0"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "AX999"), "unknown target 'AX999'; known are AX650"),
        (("--target", "AX650", "--waive", "nonsense"), "can't waive 'nonsense'"),
    ],
)
def test_unknown_names_are_errors(
    graph: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bevformer("lint", graph, *arguments) == 1
    assert message in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer("lint", tmp_path / "none.onnx", "--target", "AX650") == 1
    assert "none.onnx" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (
            helper.make_node("Add", ["x", "ghost"], ["y"], "add"),
            "error: [undefined] Add 'add'\n  why: it reads 'ghost'",
        ),
        (
            helper.make_node("Gather", ["x"], ["y"], "take"),
            "error: [invalid] Gather 'take'\n  why: Node(take) with schema",
        ),
        (helper.make_node("Cast", ["x"], ["y"], "cast", to=99), "error: [limit] Cast 'cast'\n  why: to is 'type 99'"),
    ],
    ids=["undefined", "too few inputs", "unknown type"],
)
def test_a_malformed_graph_is_told_what_is_wrong_with_it(
    node: onnx.NodeProto, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(model_of([node], {"x": (2, 3)}, {"y": (2, 3)}), str(tmp_path / "m.onnx"))
    assert bevformer("lint", tmp_path / "m.onnx", "--target", "AX650") == 1
    assert text in capsys.readouterr().out
