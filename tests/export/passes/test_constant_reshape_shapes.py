from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.export.passes import constant_reshape_shapes, standard_grid_sample
from tests.export.graphs import int64, model_of, operators, run_model, vendor_like_model


def _initializer(model: onnx.ModelProto, name: str) -> list[float]:
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return list(tensors[name].tolist())


def test_the_vendors_chains_become_constants() -> None:
    model = standard_grid_sample.apply(vendor_like_model()).model

    result = constant_reshape_shapes.apply(model)

    assert (result.changed, result.refusals) == (2, ())
    assert operators(result.model) == ["GridSample", "Reshape", "Reshape", "Mul"]
    reshapes = [node for node in result.model.graph.node if node.op_type == "Reshape"]
    assert [_initializer(result.model, node.input[1]) for node in reshapes] == [[2, 4, -1], [2, 4, 5, -1]]
    assert {tensor.name for tensor in result.model.graph.initializer} == {"weight"} | {n.input[1] for n in reshapes}
    onnx.checker.check_model(result.model, full_check=True)
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(vendor_like_model())["y"])


def test_arithmetic_on_shapes_is_evaluated() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["hw"], "hw", start=2),
        helper.make_node("Cast", ["hw"], ["hw_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["hw_float", "half"], ["halved"]),
        helper.make_node("Floor", ["halved"], ["floored"]),
        helper.make_node("Cast", ["floored"], ["new_hw"], to=TensorProto.INT64),
        helper.make_node("Shape", ["x"], ["nc"], "nc", end=2),
        helper.make_node("Concat", ["nc", "new_hw"], ["sizes"], axis=0),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["resized"], "resize", mode="nearest"),
        helper.make_node("Size", ["resized"], ["count"], "count"),
        helper.make_node("Unsqueeze", ["count", "axis0"], ["count_1d"]),
        helper.make_node("Reshape", ["resized", "count_1d"], ["y"], "flatten"),
    ]
    constants = {"half": np.asarray([0.5], np.float32), "axis0": int64(0)}
    model = model_of(nodes, {"x": (1, 2, 5, 7)}, {"y": (12,)}, constants=constants)

    result = constant_reshape_shapes.apply(model)

    assert operators(result.model) == ["Resize", "Reshape"]
    assert _initializer(result.model, result.model.graph.node[0].input[3]) == [1, 2, 2, 3]
    assert _initializer(result.model, result.model.graph.node[1].input[1]) == [12]
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(model)["y"])


def test_expand_tile_and_constant_of_shape_are_covered() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], "shape"),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"], "zeros"),
        helper.make_node("Expand", ["row", "shape"], ["rows"], "expand"),
        helper.make_node("Tile", ["rows", "shape"], ["tiled"], "tile"),
        helper.make_node("Add", ["x", "zeros"], ["sum"]),
        helper.make_node("Tile", ["sum", "shape"], ["sum_tiled"], "tile_sum"),
        helper.make_node("Add", ["sum_tiled", "tiled"], ["y"]),
    ]
    row = np.arange(3, dtype=np.float32)[None]
    model = model_of(nodes, {"x": (2, 3)}, {"y": (4, 9)}, constants={"row": row})

    result = constant_reshape_shapes.apply(model)

    assert result.changed == 4
    assert "Shape" not in operators(result.model)
    np.testing.assert_array_equal(run_model(result.model)["y"], run_model(model)["y"])


def test_a_shape_that_depends_on_the_data_is_refused_and_the_culprit_named() -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["where"], "find_visible"),
        helper.make_node("Shape", ["where"], ["where_shape"], "count_visible"),
        helper.make_node("Gather", ["where_shape", "one"], ["count"], axis=0),
        helper.make_node("Unsqueeze", ["count", "axis0"], ["count_1d"]),
        helper.make_node("Reshape", ["where", "count_1d"], ["y"], "flatten_visible"),
    ]
    constants = {"one": np.asarray(1, dtype=np.int64), "axis0": int64(0)}
    model = model_of(nodes, {"x": (9,)}, {"y": None}, constants=constants, int64_outputs=["y"])

    result = constant_reshape_shapes.apply(model)

    assert result.model is model
    assert [str(refusal) for refusal in result.refusals] == [
        "Reshape 'flatten_visible': its shape 'count_1d' can change: 'count_visible' takes the shape of 'where', "
        "which is not fixed"
    ]


def test_a_shape_taken_from_values_names_where_they_come_from() -> None:
    nodes = [
        helper.make_node("Exp", ["x"], ["grown"], "exp"),
        helper.make_node("Cast", ["grown"], ["sizes"], to=TensorProto.INT64),
        helper.make_node("Expand", ["scalar", "sizes"], ["y"], "expand"),
    ]
    model = model_of(nodes, {"x": (2,)}, {"y": None}, constants={"scalar": np.ones(1, np.float32)})
    assert constant_reshape_shapes.apply(model).refusals[0].reason == (
        "its shape 'sizes' can change: it depends on the data through 'exp' (Exp)"
    )


def test_dynamic_inputs_are_refused_next_to_what_can_be_done() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["x_shape"], "x_shape"),
        helper.make_node("Reshape", ["fixed", "x_shape"], ["a"], "to_dynamic"),
        helper.make_node("Shape", ["fixed"], ["fixed_shape"], "fixed_shape"),
        helper.make_node("Reshape", ["x", "fixed_shape"], ["b"], "to_fixed"),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    model = model_of(nodes, {"x": ("n", 2), "fixed": (3, 2)}, {"y": None})

    result = constant_reshape_shapes.apply(model)

    assert result.changed == 1
    assert [refusal.node for refusal in result.refusals] == ["to_dynamic"]
    assert "'x_shape' takes the shape of 'x', which is not fixed" in result.refusals[0].reason


def test_constant_shapes_are_left_alone() -> None:
    model = model_of(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])], {"x": (2, 3)}, {"y": (6,)}, constants={"shape": int64(-1)}
    )
    result = constant_reshape_shapes.apply(model)
    assert result.model is model
    assert (result.changed, result.refusals) == (0, ())


def test_the_argument_is_not_modified() -> None:
    model = standard_grid_sample.apply(vendor_like_model()).model
    before = model.SerializeToString(deterministic=True)
    constant_reshape_shapes.apply(model)
    assert model.SerializeToString(deterministic=True) == before
