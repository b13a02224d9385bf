"""Channels of very different size between convolutions: the same outputs, and less lost in 8 bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from bevformer_lib.errors import ConversionError
from bevformer_lib.ptq import equalize_convolutions
from tests.ptq.graphs import applied, error_in_8_bits, model, relative_difference

SIZES = np.array([20.0, 1.0, 0.3, 8.0, 0.1, 2.0], np.float32).reshape(6, 1, 1, 1)


def normal(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def backbone(*, shared: bool = False) -> onnx.ModelProto:
    """A stem, a residual block and pooling; the channels of the stem and of the block differ by a factor of 200."""
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["stem"]),
        helper.make_node("Relu", ["stem"], ["a"]),
        helper.make_node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "w1", "b1"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["p", "b"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["c"]),
        helper.make_node("Conv", ["c", "w1" if shared else "w2"], ["y"]),
    ]
    constants = {
        "w0": normal(0, 6, 3, 1, 1) * SIZES,
        "b0": normal(1, 6),
        "w1": normal(2, 6, 6, 3, 3) * SIZES / SIZES.reshape(1, 6, 1, 1),
        "b1": normal(3, 6),
        "w2": normal(4, 5, 6, 1, 1) / SIZES.reshape(1, 6, 1, 1),
    }
    return model(nodes, {"x": [2, 3, 12, 12]}, ["y"], constants)


SAMPLES = [{"x": normal(seed, 2, 3, 12, 12)} for seed in (10, 11)]


@pytest.mark.parametrize("shared", [False, True])
def test_the_outputs_stay_the_same(shared: bool) -> None:
    given = backbone(shared=shared)
    changed, facts = applied(equalize_convolutions, given, SAMPLES)
    assert facts["groups"] == facts["scaled"] == 1
    unseen = {"x": normal(12, 2, 3, 12, 12)}
    assert relative_difference(changed, given, unseen) < 1e-6
    assert [node.name for node in changed.graph.node] == [node.name for node in given.graph.node]
    scaled = {name for node in changed.graph.node for name in node.output} - {"y"}
    assert scaled == {f"{name}.scaled" for name in ("stem", "a", "p", "b", "sum", "c")}  # compared with nothing by name


def test_less_is_lost_in_8_bits() -> None:
    given = backbone()
    changed, facts = applied(equalize_convolutions, given, SAMPLES)
    assert facts["predicted_error_after"] < 0.3 * facts["predicted_error_before"]
    assert error_in_8_bits(changed, SAMPLES, given) < 0.3 * error_in_8_bits(given, SAMPLES, given)


def test_channels_that_are_alike_or_always_zero_are_left() -> None:
    even = np.ones((6, 3, 1, 1), np.float32)
    even[3] = 0
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"]),
        helper.make_node("Conv", ["a", "w1"], ["y"]),
    ]
    given = model(nodes, {"x": [1, 3, 4, 4]}, ["y"], {"w0": even, "w1": np.ones((2, 6, 1, 1), np.float32)})
    changed, _ = applied(equalize_convolutions, given, [{"x": normal(5, 1, 3, 4, 4)}])
    for tensor in changed.graph.initializer:
        assert np.isfinite(numpy_helper.to_array(tensor)).all()


def test_values_that_are_not_finite_are_refused() -> None:
    broken = normal(6, 2, 3, 12, 12)
    broken[0, 0, 0, 0] = np.inf
    with pytest.raises(ConversionError, match="holds NaN or infinity"):
        applied(equalize_convolutions, backbone(), [{"x": broken}])
