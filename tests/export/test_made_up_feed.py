from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from bevformer_lib.errors import ExportError
from bevformer_lib.export.made_up_feed import made_up_feed
from tests.export.graphs import model_of


def test_inputs_have_the_graphs_shapes_and_are_the_same_every_time() -> None:
    graph = model_of([helper.make_node("Add", ["x", "b"], ["y"])], {"x": (2, 3), "b": (3,)}, {"y": (2, 3)}).graph
    first, second = made_up_feed(graph), made_up_feed(graph)
    assert {name: (value.shape, value.dtype) for name, value in first.items()} == {
        "x": ((2, 3), np.float32),
        "b": ((3,), np.float32),
    }
    np.testing.assert_array_equal(first["x"], second["x"])


def test_a_bevformers_cameras_see_what_is_around_the_car() -> None:
    nodes = [helper.make_node("Relu", ["img"], ["y"]), helper.make_node("Relu", ["lidar2img"], ["z"])]
    shapes = {"img": (1, 6, 3, 96, 160), "lidar2img": (1, 6, 4, 4)}
    feed = made_up_feed(model_of(nodes, shapes, {"y": shapes["img"], "z": shapes["lidar2img"]}).graph)
    ahead = feed["lidar2img"][0, 0] @ np.array([0.0, 20.0, 0.0, 1.0])
    np.testing.assert_allclose(ahead[0] / ahead[2], 80, atol=1e-3)
    assert 0 < ahead[1] / ahead[2] < 96


def test_integers_are_zero_since_they_may_be_indices() -> None:
    nodes = [helper.make_node("Gather", ["x", "i"], ["y"])]
    graph = model_of(nodes, {"x": (2, 3), "i": (5,)}, {"y": (5, 3)}).graph
    graph.input[1].type.tensor_type.elem_type = TensorProto.INT64
    indices = made_up_feed(graph)["i"]
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(indices, np.zeros(5))


@pytest.mark.parametrize(
    ("images", "matrices"),
    [
        ((6, 3, 96, 160), (6, 4, 4)),
        ((1, 6, 3, 96, 160), (1, 6, 3, 4)),
        ((1, 6, 3, 96, 160), (1, 5, 4, 4)),
        ((6, 96, 160), (16,)),
        ((1, 0, 3, 96, 160), (1, 0, 4, 4)),
    ],
)
def test_another_models_inputs_of_these_names_are_random(images: tuple[int, ...], matrices: tuple[int, ...]) -> None:
    nodes = [helper.make_node("Relu", ["img"], ["y"]), helper.make_node("Relu", ["lidar2img"], ["z"])]
    shapes = {"img": images, "lidar2img": matrices}
    feed = made_up_feed(model_of(nodes, shapes, {"y": images, "z": matrices}).graph)
    assert {name: value.shape for name, value in feed.items()} == shapes
    assert np.abs(feed["lidar2img"]).max(initial=0) < 10  # a camera's matrix has pixels


def test_every_frame_of_a_batch_has_the_cameras() -> None:
    nodes = [helper.make_node("Relu", ["img"], ["y"]), helper.make_node("Relu", ["lidar2img"], ["z"])]
    shapes = {"img": (2, 6, 3, 96, 160), "lidar2img": (2, 6, 4, 4)}
    matrices = made_up_feed(model_of(nodes, shapes, {"y": shapes["img"], "z": shapes["lidar2img"]}).graph)["lidar2img"]
    np.testing.assert_array_equal(matrices[0], matrices[1])
    assert matrices.max() > 10


def test_an_input_of_unknown_size_is_named() -> None:
    graph = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ("n", 3)}, {"y": ("n", 3)}).graph
    with pytest.raises(ExportError, match="input 'x' is not fixed"):
        made_up_feed(graph)
