"""Rounding that keeps products: by hand-made weights and inputs whose channels come together."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.convert.ranges import SampleRuns
from bevformer_lib.emulator.formats import round_weight
from bevformer_lib.errors import ConversionError
from bevformer_lib.ptq.learn_rounding import learn_rounding, learnt_weight

INPUTS, OUTPUTS, ROWS = 24, 10, 200


def correlated(seed: int) -> NDArray[np.float32]:
    """(ROWS, INPUTS): a few causes behind all channels, as after a ReLU or an attention."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(ROWS, 4)) @ rng.normal(size=(4, INPUTS)) + 0.1 * rng.normal(size=(ROWS, INPUTS))).astype(
        np.float32
    )


def weight(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(INPUTS, OUTPUTS)).astype(np.float32)


def graph(values: NDArray[np.float32], *, readers: int = 1) -> onnx.ModelProto:
    nodes = [helper.make_node("MatMul", ["x", "w"], [f"y{i}"], name=f"product{i}") for i in range(readers)]
    outputs = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [1, ROWS, OUTPUTS]) for i in range(readers)]
    fed = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, ROWS, INPUTS])
    made = helper.make_graph(nodes, "products", [fed], outputs, [numpy_helper.from_array(values, "w")])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_learnt_weight_rounds_to_itself_and_keeps_the_products_of_inputs_that_it_never_saw() -> None:
    given, seen, unseen = weight(0), correlated(1), correlated(1)[::-1] + np.float32(0.01)
    learnt = learnt_weight(given, (seen.T @ seen).astype(np.float64))
    rounded = round_weight(learnt, 1)

    largest = np.abs(given).argmax(axis=0)
    channels = np.arange(OUTPUTS)
    np.testing.assert_array_equal(np.abs(learnt).argmax(axis=0), largest)
    np.testing.assert_array_equal(learnt[largest, channels], given[largest, channels])
    others = np.ones(given.shape, bool)
    others[largest, channels] = False
    assert (learnt != given).any(axis=0).all()
    np.testing.assert_allclose(rounded[others], learnt[others], rtol=1e-6, atol=0)

    def error(of: NDArray[np.float32]) -> float:
        return float(np.linalg.norm(unseen @ of - unseen @ given))

    assert error(rounded) < 0.4 * error(round_weight(given, 1))
    assert np.abs(rounded - given).max() > np.abs(round_weight(given, 1) - given).max()  # not to the nearest


def test_channels_of_zeros_and_inputs_that_are_always_zero() -> None:
    given, seen = weight(2), correlated(3)
    given[:, 4] = 0.0
    seen[:, 7] = 0.0
    learnt = learnt_weight(given, (seen.T @ seen).astype(np.float64))
    assert np.isfinite(learnt).all()
    assert not learnt[:, 4].any()


def test_a_graph_s_products_are_learnt_from_its_samples() -> None:
    given = weight(5)
    samples = [{"x": correlated(seed)[None]} for seed in (6, 7)]
    learnt, [layer] = learn_rounding(graph(given), SampleRuns(samples, 2))
    together = sum((one["x"][0].T.astype(np.float64) @ one["x"][0] for one in samples), np.zeros((INPUTS, INPUTS)))
    changed = numpy_helper.to_array(learnt.graph.initializer[0])
    np.testing.assert_allclose(changed, learnt_weight(given, together), atol=1e-6)
    assert layer.name == "product0"
    assert layer.learnt < 0.5 * layer.nearest
    assert [value.name for value in learnt.graph.output] == ["y0"]


@pytest.mark.parametrize("asked", [{}, {"strides": [2, 2], "pads": [1, 1, 1, 1]}, {"dilations": [2, 2]}])
def test_a_convolution_is_the_product_of_its_weights_with_its_patches(asked: dict[str, list[int]]) -> None:
    rng = np.random.default_rng(12)
    kernel = rng.normal(size=(5, 3, 3, 3)).astype(np.float32)
    image = rng.normal(size=(2, 3, 14, 15)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", **asked)
    fed = helper.make_tensor_value_info("x", TensorProto.FLOAT, image.shape)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    made = helper.make_graph([node], "conv", [fed], [output], [numpy_helper.from_array(kernel, "w")])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    learnt, [layer] = learn_rounding(model, SampleRuns([{"x": image}], 1))

    pads = asked.get("pads", [0, 0, 0, 0])
    padded = np.pad(image, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    [step, _], [apart, _] = asked.get("strides", [1, 1]), asked.get("dilations", [1, 1])
    reach = 2 * apart
    patches = np.stack(
        [
            padded[b, :, top : top + reach + 1 : apart, left : left + reach + 1 : apart].ravel()
            for b in range(2)
            for top in range(0, padded.shape[2] - reach, step)
            for left in range(0, padded.shape[3] - reach, step)
        ]
    ).astype(np.float64)
    expected = learnt_weight(np.ascontiguousarray(kernel.reshape(5, -1).T), patches.T @ patches)
    given = numpy_helper.to_array(learnt.graph.initializer[0]).reshape(5, -1).T
    np.testing.assert_allclose(given, expected, atol=1e-5)
    assert layer.learnt <= layer.nearest


def test_a_weight_of_two_readers_is_left_alone() -> None:
    learnt, layers = learn_rounding(graph(weight(8), readers=2), SampleRuns([{"x": correlated(9)[None]}], 1))
    assert not layers
    np.testing.assert_array_equal(numpy_helper.to_array(learnt.graph.initializer[0]), weight(8))


def test_values_that_are_not_finite_are_refused() -> None:
    broken = correlated(10)[None]
    broken[0, 0, 0] = np.nan
    with pytest.raises(ConversionError, match="'x' holds NaN or infinity"):
        learn_rounding(graph(weight(11)), SampleRuns([{"x": broken}], 1))
