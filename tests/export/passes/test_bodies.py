from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bevformer_lib.export.made_up_feed import made_up_feed
from bevformer_lib.export.passes import squeeze_to_reshape, swish_to_sigmoid
from bevformer_lib.export.passes.bodies import apply_everywhere
from bevformer_lib.export.passes.pipeline import run_passes
from bevformer_lib.export.run_once import run_once
from tests.export.bodies import branching_model, looping_model
from tests.export.graphs import int64, model_of, operators


@pytest.mark.parametrize("make", [branching_model, looping_model])
def test_what_the_passes_rewrite_is_rewritten_in_bodies_too(make) -> None:
    model = make()
    before = model.SerializeToString()
    repaired, reports = run_passes(model)
    assert model.SerializeToString() == before
    changed = {report.name: report.changed for report in reports if report.changed}
    assert changed["squeeze_to_reshape"] == 1
    assert not any(operator == "Squeeze" for operator in _inner_operators(repaired))
    for seed in range(6):  # of both signs, so that both branches are taken
        feed = made_up_feed(model.graph, seed=seed)
        np.testing.assert_allclose(run_once(repaired, feed)["z"], run_once(model, feed)["z"], rtol=1e-6)


def test_constants_of_a_body_keep_out_of_the_way_of_others() -> None:
    """Both branches squeeze a tensor of the same name; the graph around them has their new constant's name already."""
    model = branching_model(also={"t_shape": int64(9, 9)})
    result = apply_everywhere(squeeze_to_reshape.apply, model)
    assert result.changed == 1
    names = [tensor.name for node in result.model.graph.node for body in _bodies(node) for tensor in body.initializer]
    assert len(names) == len(set(names)) and "t_shape" not in names
    feed = made_up_feed(model.graph, seed=1)
    np.testing.assert_array_equal(run_once(result.model, feed)["z"], run_once(model, feed)["z"])


def test_what_a_body_reads_of_the_graph_around_it_does_not_move_into_it() -> None:
    result = apply_everywhere(squeeze_to_reshape.apply, branching_model())
    body = next(_ for node in result.model.graph.node for _ in _bodies(node) if _.name == "then")
    assert not body.input
    assert [tensor.name for tensor in body.initializer] == ["t_shape"]


def test_nothing_to_do_costs_no_copy() -> None:
    model = branching_model()
    assert apply_everywhere(swish_to_sigmoid.apply, model).model is model


def test_a_branch_that_is_always_taken_takes_the_place_of_its_if() -> None:
    """As PyTorch writes `squeeze` of an axis whose size it does not know: whether to squeeze is asked at run time."""
    then, other = (
        helper.make_graph([node], name, [], [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)])
        for name, node in (
            ("then", helper.make_node("Squeeze", ["x", "axis"], ["s"])),
            ("else", helper.make_node("Identity", ["x"], ["i"])),
        )
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "axis"], ["size"], axis=0),
        helper.make_node("Equal", ["size", "one"], ["is_one"]),
        helper.make_node("If", ["is_one"], ["f"], then_branch=then, else_branch=other),
        helper.make_node("Relu", ["f"], ["z"]),
    ]
    model = model_of(nodes, {"x": (1, 2, 3)}, {"z": ("a", "b")}, constants={"axis": int64(0), "one": int64(1)})
    repaired, _ = run_passes(model)
    assert operators(repaired) == ["Reshape", "Relu"]
    feed = made_up_feed(model.graph)
    np.testing.assert_array_equal(run_once(repaired, feed)["z"], run_once(model, feed)["z"])


def _bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [entry.g for entry in node.attribute if entry.HasField("g")]


def _inner_operators(model: onnx.ModelProto) -> list[str]:
    return [inner.op_type for node in model.graph.node for body in _bodies(node) for inner in body.node]
