from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.export.graphs import int64, model_of
from tests.support.calibration import make_calibration, make_toy_world
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


def test_a_graph_whose_outputs_are_open_is_run(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = onnx.load(str(graph))
    for value in model.graph.output:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, str(graph))
    assert bevformer("profile", graph, "--runs", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["latency"]["runs"] == 1


def test_a_malformed_graph_is_an_error_that_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model_of([helper.make_node("Gather", ["x"], ["y"], "take")], {"x": (2, 3)}, {"y": (2, 3)}), path)
    assert bevformer("profile", path) == 1
    assert f"{path}: the graph is not valid ONNX (Gather 'take'" in capsys.readouterr().err.replace("\n", " ")


def test_operators_that_are_not_counted_are_printed(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer("profile", graph, "--runs", "0") == 0
    assert "not counted" not in capsys.readouterr().out
    node = helper.make_node("Resize", ["x", "", "factors"], ["y"], "enlarge", mode="linear")
    constants = {"factors": np.float32([1, 1, 2, 2])}
    onnx.save(model_of([node], {"x": (1, 1, 2, 2)}, {"y": (1, 1, 4, 4)}, constants=constants), graph)
    assert bevformer("profile", graph, "--runs", "0") == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "not counted" in line)
    assert "Resize" in row


def test_another_models_graph_is_run(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    nodes = [
        helper.make_node("Gather", ["img", "lidar2img"], ["some"], "take"),
        helper.make_node("Relu", ["some"], ["y"], "it"),
    ]
    model = model_of(nodes, {"img": (6, 3, 8, 8), "lidar2img": (2,)}, {"y": (2, 3, 8, 8)})
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, path)
    assert bevformer("profile", path, "--runs", "1", "--threads", "1") == 0


def test_a_graph_that_fails_when_run_is_an_error_that_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    nodes = [
        helper.make_node("Add", ["i", "far"], ["index"], "add"),
        helper.make_node("Gather", ["x", "index"], ["y"], "take"),
    ]
    model = model_of(nodes, {"x": (2, 3), "i": (1,)}, {"y": (1, 3)}, constants={"far": int64(7)})
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, path)
    assert bevformer("profile", path, "--runs", "1", "--threads", "1") == 1
    assert f"{path}: ONNX Runtime can't run it with synthetic inputs" in capsys.readouterr().err.replace("\n", " ")


def test_a_calibration_set_shows_the_steps_of_eight_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_toy_world(tmp_path, num_scenes=1, frames_per_scene=2)
    calibration = make_calibration(world, tmp_path, num_samples=2)
    given = ("profile", world.model, "--runs", "0", "--calibration", calibration)
    assert bevformer(*given, "--json") == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert {"lidar2img", "prev_bev"} <= {step["name"] for step in steps}
    assert bevformer(*given) == 0
    assert f"of {len(steps)} tensors; pixels of the map that is sampled" in capsys.readouterr().out
