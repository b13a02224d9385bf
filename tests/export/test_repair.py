from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bevformer_lib.errors import ExportError
from bevformer_lib.export import repair
from bevformer_lib.export.made_up_feed import made_up_feed
from bevformer_lib.export.passes.base import PassResult
from bevformer_lib.export.repair import RepairResult, repair_graph
from bevformer_lib.export.run_once import run_once
from tests.export.bodies import branching_model
from tests.export.graphs import int64, model_of, operators, vendor_like_model


def _repaired(tmp_path: Path, model: onnx.ModelProto, **options: object) -> RepairResult:
    onnx.save(model, tmp_path / "given.onnx")
    return repair_graph(tmp_path / "given.onnx", tmp_path / "repaired.onnx", target="AX650", **options)  # type: ignore[arg-type]


def test_a_raw_graph_whose_shapes_were_never_declared(tmp_path: Path) -> None:
    model = vendor_like_model()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    result = _repaired(tmp_path, model)
    assert (result.nodes_before, result.nodes_after, result.compared_from) == (13, 2, "")
    assert operators(onnx.load(result.output)) == ["GridSample", "Mul"]
    assert list(result.differences) == ["y"] and result.differences["y"] <= 1e-6
    assert result.lint_before.errors and not result.lint_after.errors


def test_outputs_that_name_their_sizes_need_not_keep_the_names(tmp_path: Path) -> None:
    model = vendor_like_model()
    for place, dim in enumerate(model.graph.output[0].type.tensor_type.shape.dim):
        dim.dim_param = f"d{place}"
    assert _repaired(tmp_path, model).lint_after.errors == ()


def test_bodies_are_repaired_and_what_remains_is_said(tmp_path: Path) -> None:
    result = _repaired(tmp_path, branching_model())
    assert next(report.changed for report in result.passes if report.name == "squeeze_to_reshape") == 1
    assert any("If" in str(finding) for finding in result.lint_after.findings)


def test_an_operator_that_onnx_runtime_lacks_is_compared_from_where_it_can_be_run(tmp_path: Path) -> None:
    sampling = helper.make_node(
        "grid_sampler", ["x", "grid"], ["s"], domain="mmcv", interpolation_mode=0, padding_mode=0, align_corners=0
    )
    squeeze = helper.make_node("Squeeze", ["s", "first"], ["y"])
    shapes = {"x": (1, 2, 4, 4), "grid": (1, 3, 3, 2)}
    model = model_of([sampling, squeeze], shapes, {"y": (2, 3, 3)}, constants={"first": int64(0)}, domains=["mmcv"])
    result = _repaired(tmp_path, model)
    assert result.compared_from == "standard_grid_sample"
    assert operators(onnx.load(result.output)) == ["GridSample", "Reshape"]
    unknown = model_of(
        [helper.make_node("Other", ["x"], ["y"], domain="mmcv")], {"x": (1,)}, {"y": (1,)}, domains=["mmcv"]
    )
    with pytest.raises(ExportError, match=r"given\.onnx: .*(onnxsim failed|nothing shows what the graph computes)"):
        _repaired(tmp_path, unknown)


def test_open_inputs_get_their_shapes(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ("n", 3)}, {"y": ("n", 3)})
    with pytest.raises(
        ExportError, match=r"given\.onnx: leaves the shape of 'x' open; give it, as in --input-shape x="
    ):
        _repaired(tmp_path, model)
    for shapes, said in (({"z": (1, 3)}, "no input 'z'"), ({"x": (1, 4)}, r"shape \?x3, which 1x4 is none of")):
        with pytest.raises(ExportError, match=said):
            _repaired(tmp_path, model, input_shapes=shapes)
    result = _repaired(tmp_path, model, input_shapes={"x": (2, 3)})
    assert not result.lint_after.errors


def test_weights_in_other_files_come_along(tmp_path: Path) -> None:
    model = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": (2, 64)},
        {"y": (2, 64)},
        constants={"w": np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)},
    )
    weight = numpy_helper.to_array(model.graph.initializer[0])
    onnx.save(model, tmp_path / "given.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    result = repair_graph(tmp_path / "given.onnx", tmp_path / "repaired.onnx", target="AX650")
    (tmp_path / "weights").unlink()
    feed = made_up_feed(model.graph)
    np.testing.assert_allclose(run_once(onnx.load(result.output), feed)["y"], feed["x"] @ weight, rtol=1e-4)
    with pytest.raises(ExportError, match=r"given\.onnx: its weights in other files can't be read"):
        repair_graph(tmp_path / "given.onnx", tmp_path / "again.onnx", target="AX650")


def test_a_rewrite_that_changes_what_is_computed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(model: onnx.ModelProto) -> PassResult:
        spoilt = onnx.ModelProto()
        spoilt.CopyFrom(model)
        spoilt.graph.initializer[-1].CopyFrom(
            numpy_helper.from_array(
                numpy_helper.to_array(model.graph.initializer[-1]) * 2, model.graph.initializer[-1].name
            )
        )
        return PassResult(spoilt, 1)

    monkeypatch.setattr(repair, "_PASSES", {**repair._PASSES, "spoil": spoil})
    model = model_of(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        {"x": (2, 3)},
        {"y": (2, 3)},
        constants={"w": np.ones((1, 3), np.float32) * 3},
    )
    with pytest.raises(
        ExportError, match=r"changed output 'y': relative difference 1\.00e\+00.*spoil is the first that"
    ):
        _repaired(tmp_path, model)
    assert not (tmp_path / "repaired.onnx").exists()
