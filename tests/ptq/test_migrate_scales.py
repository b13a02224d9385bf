"""Channels of very different size in a feed-forward network and an attention: the same outputs, less lost in 8 bits."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from bevformer_lib.ptq import equalize_convolutions, migrate_scales
from tests.ptq.graphs import applied, error_in_8_bits, model, relative_difference

SIZES = np.array([20.0, 1.0, 0.3, 8.0, 0.1, 2.0, 0.5, 5.0], np.float32)


def normal(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def transformer() -> onnx.ModelProto:
    """Sampled values of two heads, a normalisation with a residual connection, a feed-forward network, a last norm."""
    nodes = [
        helper.make_node("MatMul", ["x", "w_value"], ["product"]),
        helper.make_node("Add", ["b", "product"], ["value"]),
        helper.make_node("Transpose", ["value"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Reshape", ["turned", "to_heads"], ["heads"]),
        helper.make_node("GridSample", ["heads", "grid"], ["sampled"], align_corners=0),
        helper.make_node("Mul", ["sampled", "weights"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "points"], ["summed"], keepdims=0),
        helper.make_node("Reshape", ["summed", "to_channels"], ["joined"]),
        helper.make_node("Transpose", ["joined"], ["back"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["back", "w_output"], ["attended"]),
        helper.make_node("Add", ["attended", "x"], ["residual"]),
        helper.make_node("LayerNormalization", ["residual", "g", "b"], ["normed"]),
        helper.make_node("MatMul", ["normed", "w_first"], ["hidden"]),
        helper.make_node("Add", ["hidden", "b"], ["biased"]),
        helper.make_node("Relu", ["biased"], ["active"]),
        helper.make_node("MatMul", ["active", "w_second"], ["fed"]),
        helper.make_node("Add", ["fed", "normed"], ["again"]),
        helper.make_node("LayerNormalization", ["again", "g", "b"], ["last"]),
        helper.make_node("MatMul", ["last", "w_head"], ["y"]),
    ]
    constants = {
        "w_value": normal(0, 8, 8) * SIZES,
        "w_output": normal(1, 8, 8) / SIZES[:, np.newaxis],
        "w_first": normal(2, 8, 8) * SIZES,
        "w_second": normal(3, 8, 8) / SIZES[:, np.newaxis],
        "w_head": normal(4, 8, 5) / SIZES[:, np.newaxis],
        "g": SIZES,
        "b": normal(5, 8) * SIZES,
        "to_heads": np.array([2, 4, 3, 4]),
        "points": np.array([2]),
        "to_channels": np.array([1, 8, 12]),
    }
    inputs = {"x": [1, 12, 8], "grid": [2, 3, 12, 2], "weights": [2, 1, 3, 12]}
    return model(nodes, inputs, ["y"], constants)


def sample(seed: int) -> dict[str, NDArray[np.float32]]:
    grid = np.tanh(normal(seed + 1, 2, 3, 12, 2))
    return {"x": normal(seed, 1, 12, 8), "grid": grid, "weights": np.abs(normal(seed + 2, 2, 1, 3, 12))}


SAMPLES = [sample(20), sample(30)]


def test_the_outputs_stay_the_same() -> None:
    given = transformer()
    changed, facts = applied(migrate_scales, given, SAMPLES)
    assert facts["groups"] == facts["scaled"] == 3  # values, feed-forward, last norm; not the one in between
    assert relative_difference(changed, given, sample(40)) < 1e-6


def test_less_is_lost_in_8_bits() -> None:
    given = transformer()
    changed, _ = applied(migrate_scales, given, SAMPLES)
    assert error_in_8_bits(changed, SAMPLES, given) < 0.8 * error_in_8_bits(given, SAMPLES, given)


def test_every_group_belongs_to_one_pass() -> None:
    changed, facts = applied(equalize_convolutions, transformer(), SAMPLES)
    assert facts["groups"] == 0
    assert changed == transformer()


def test_both_passes_one_after_the_other() -> None:
    """What one renames, the other finds: a convolution at the end of one group and at the beginning of the next."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["value"]),
        helper.make_node("Transpose", ["value"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Reshape", ["turned", "image"], ["i"]),
        helper.make_node("Conv", ["i", "k1"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "k2"], ["y"]),
    ]
    kernel = normal(7, 8, 8, 1, 1)
    sizes = SIZES.reshape(8, 1, 1, 1)
    constants = {
        "w": normal(6, 8, 8) * SIZES,
        "k1": kernel * sizes / SIZES.reshape(1, 8, 1, 1),
        "k2": kernel / SIZES.reshape(1, 8, 1, 1),
        "image": np.array([1, 8, 3, 4]),
    }
    given = model(nodes, {"x": [1, 12, 8]}, ["y"], constants)
    samples = [{"x": normal(8, 1, 12, 8)}]
    first, facts = applied(equalize_convolutions, given, samples)
    assert facts["scaled"] == 1
    second, facts = applied(migrate_scales, first, samples)
    assert facts["scaled"] == 1
    assert relative_difference(second, given, {"x": normal(9, 1, 12, 8)}) < 1e-6
    assert error_in_8_bits(second, samples, given) < 0.5 * error_in_8_bits(given, samples, given)
