from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bevformer_lib.errors import ExportError, RuntimeUnavailableError
from bevformer_lib.profile.latency import OperatorTime, measure_latency, operator_times
from tests.export.graphs import model_of


def _event(name: str, operator: str, *, ts: int, dur: int, index: int) -> dict[str, Any]:
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "ts": ts,
        "dur": dur,
        "args": {"op_name": operator, "node_index": str(index)},
    }


def test_times_are_averaged_over_the_measured_runs_and_summed_by_operator() -> None:
    events = [
        {"cat": "Session", "name": "model_run", "ts": 0, "dur": 9_000_000, "args": {}},
        _event("a", "Conv", ts=1, dur=500_000, index=0),
        _event("b", "Conv", ts=2, dur=500_000, index=1),
        _event("", "Relu", ts=3, dur=500_000, index=2),
        _event("a", "Conv", ts=11, dur=3_000, index=0),
        _event("b", "Conv", ts=12, dur=1_000, index=1),
        _event("", "Relu", ts=13, dur=500, index=2),
        _event("a", "Conv", ts=21, dur=5_000, index=0),
        _event("b", "Conv", ts=22, dur=1_000, index=1),
        _event("", "Relu", ts=23, dur=1_500, index=2),
    ]
    assert operator_times(events, runs=2) == (OperatorTime("Conv", 2, 5.0), OperatorTime("Relu", 1, 1.0))


def test_unnamed_nodes_are_told_apart() -> None:
    events = [
        _event("", "Relu", ts=run * 10 + index, dur=1_000 * (index + 1), index=index)
        for run in range(2)
        for index in range(2)
    ]
    assert operator_times(events, runs=1) == (OperatorTime("Relu", 2, 3.0),)


def test_a_graph_is_run_and_its_temporary_profile_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path = tmp_path / "m.onnx"
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    onnx.save(model_of([node], {"x": (64, 64)}, {"y": (64, 64)}, constants={"w": np.eye(64, dtype=np.float32)}), path)
    events: list[tuple[str, int, int]] = []

    latency = measure_latency(
        path,
        {"x": np.ones((64, 64), np.float32)},
        runs=2,
        threads=1,
        on_progress=lambda *event: events.append(event),
    )

    assert latency.runs == 2
    assert [operator.operator for operator in latency.operators] == ["MatMul"]
    assert 0 < latency.operators[0].milliseconds <= latency.median_ms * 2
    assert events == [("profile: run", done, 3) for done in (1, 2, 3)]
    assert list((tmp_path / "temporary").glob("*/*")) == []


def test_what_is_no_model_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("nothing")
    with pytest.raises(RuntimeUnavailableError, match=r"m\.onnx"):
        measure_latency(tmp_path / "m.onnx", {}, runs=1)


def test_a_graph_that_fails_on_its_inputs_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = model_of([helper.make_node("Gather", ["x", "i"], ["y"])], {"x": (2, 3), "i": (1,)}, {"y": (1, 3)})
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, path)
    with pytest.raises(ExportError, match=r"m\.onnx: ONNX Runtime can't run it with synthetic inputs .*out of"):
        measure_latency(path, {"x": np.ones((2, 3), np.float32), "i": np.array([7])}, runs=1)
