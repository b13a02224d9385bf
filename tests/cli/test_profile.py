from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from tests.support.commands import bevformer
from tests.support.toy_graph import write_toy_graph


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "toy.onnx"
    write_toy_graph(path)
    return path


def test_json_holds_cost_and_latency(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer("profile", graph, "--json", "--runs", "2", "--threads", "1") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["cost"]["macs"] == sum(operator["macs"] for operator in content["cost"]["operators"]) > 0
    assert content["latency"]["runs"] == 2
    assert {"MatMul"} <= {operator["operator"] for operator in content["cost"]["operators"]}
    assert all(operator["milliseconds"] >= 0 for operator in content["latency"]["operators"])


def test_tables_name_what_they_count(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer("profile", graph, "--runs", "1", "--threads", "1") == 0
    out = capsys.readouterr().out
    for text in (
        "MACs",
        "parameters",
        "activations, peak",
        "operator in the file",
        "operator as executed",
        "ms per run",
    ):
        assert text in out


def test_without_runs_nothing_is_run(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer("profile", graph, "--runs", "0", "--json") == 0
    assert json.loads(capsys.readouterr().out)["latency"] is None


def test_a_file_that_is_no_graph_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.onnx").write_text("nothing")
    assert bevformer("profile", tmp_path / "m.onnx") == 1
    assert "m.onnx" in capsys.readouterr().err


def test_a_graph_whose_shapes_are_not_fixed_is_named(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = onnx.load(str(graph))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, str(graph))
    assert bevformer("profile", graph) == 1
    assert f"{graph}: the shape of 'img' is not fixed" in capsys.readouterr().err.replace("\n", " ")
