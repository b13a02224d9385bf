"""One rule of the converter a test: the graph's outputs against the same arithmetic in plain numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from tests.emulator.support import emulated, random, run_graph, s8, s8_per_channel, u8, u16
from tests.export.graphs import int64, model_of

F = NDArray[np.float32]


def same(found: F, expected: F) -> None:
    """Equal codes: a step of any scale here is more than 1e-4, the last bit of a sum in float32 far less."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_activations_are_unsigned_over_a_range_that_holds_zero(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Sigmoid", ["x"], ["y"])], {"x": [4, 9]}, {"y": [4, 9]})
    x = random(4, 9, low=2.0, high=5.0)
    graph = emulated(model, [{"x": x}])
    sigmoid = 1 / (1 + np.exp(-u8(x).astype(np.float64)))
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    same(run_graph(graph.main, {"x": x}, tmp_path)["y"], u8(sigmoid.astype(np.float32), exact.astype(np.float32)))


def test_ranges_are_those_of_all_samples_and_clip_what_lies_outside(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Abs", ["x"], ["y"])], {"x": [2, 3]}, {"y": [2, 3]})
    samples = [{"x": random(2, 3, seed=seed)} for seed in range(3)]
    seen = np.stack([sample["x"] for sample in samples])
    outside = 2 * random(2, 3, seed=9, low=-2.0)
    graph = emulated(model, samples)
    expected = u8(np.abs(u8(outside, seen)), np.abs(seen))
    same(run_graph(graph.main, {"x": outside}, tmp_path)["y"], expected)


def test_halves_are_rounded_to_even(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Abs", ["x"], ["y"])], {"x": [1, 6]}, {"y": [1, 6]})
    graph = emulated(model, [{"x": np.array([[0, 255, 0, 0, 0, 0]], np.float32)}])
    halves = np.array([[0.5, 1.5, 2.5, 3.5, -0.5, 300]], np.float32)
    same(run_graph(graph.main, {"x": halves}, tmp_path)["y"], np.array([[0, 2, 2, 4, 0, 255]], np.float32))


def test_what_was_never_but_zero_stays_zero(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Abs", ["x"], ["y"])], {"x": [1, 3]}, {"y": [1, 3]})
    graph = emulated(model, [{"x": np.zeros((1, 3), np.float32)}])
    assert not run_graph(graph.main, {"x": random(1, 3)}, tmp_path)["y"].any()


@pytest.mark.parametrize(
    ("operator", "shape", "axis", "attributes"),
    [("Conv", (5, 3, 2, 2), 0, {}), ("ConvTranspose", (3, 5, 2, 2), 1, {})],
)
def test_weights_of_convolutions_are_signed_per_output_channel(
    tmp_path: Path, operator: str, shape: tuple[int, ...], axis: int, attributes: dict[str, int]
) -> None:
    node = helper.make_node(operator, ["x", "w", "b"], ["y"], **attributes)
    w, b, x = random(*shape, seed=1, low=-1, high=1), random(5, seed=2), random(1, 3, 6, 6)
    w[(slice(None),) * axis + (2,)] = 0  # a channel without weights has no scale
    model = model_of([node], {"x": [1, 3, 6, 6]}, {"y": None}, constants={"w": w, "b": b})
    graph = emulated(model, [{"x": x}])

    def plain(x: F) -> F:
        rounded = {"w": s8_per_channel(w, axis), "b": b}
        inner = model_of([node], {"x": [1, 3, 6, 6]}, {"y": None}, constants=rounded)
        return run_graph(inner, {"x": x}, tmp_path)["y"]

    same(run_graph(graph.main, {"x": x}, tmp_path)["y"], u8(plain(u8(x)), plain(x)))


@pytest.mark.parametrize(("transposed", "axis"), [(0, 1), (1, 0)])
def test_weights_of_gemm_are_signed_per_output_channel_and_its_bias_keeps_its_precision(
    tmp_path: Path, transposed: int, axis: int
) -> None:
    w, b, x = random(*((4, 7) if not transposed else (7, 4)), seed=1), random(7, seed=2), random(3, 4)
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=transposed)
    graph = emulated(model_of([node], {"x": [3, 4]}, {"y": [3, 7]}, constants={"w": w, "b": b}), [{"x": x}])
    rounded = s8_per_channel(w, axis)
    matrix = rounded.T if transposed else rounded
    same(run_graph(graph.main, {"x": x}, tmp_path)["y"], u8(u8(x) @ matrix + b, x @ matrix + b))


def test_a_product_with_weights_its_bias_and_a_relu_are_rounded_once(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["y"]),
    ]
    w, b, x = random(4, 7, seed=1, low=-1, high=1), random(7, seed=2), random(2, 3, 4)
    graph = emulated(model_of(nodes, {"x": [2, 3, 4]}, {"y": [2, 3, 7]}, constants={"w": w, "b": b}), [{"x": x}])
    rounded = s8_per_channel(w, 1)
    exact = np.maximum(x @ rounded + b, 0)
    same(run_graph(graph.main, {"x": x}, tmp_path)["y"], u8(np.maximum(u8(x) @ rounded + b, 0), exact))


def test_a_relu_that_others_read_past_shares_the_scale_of_its_input(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "z"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["y"]),
        helper.make_node("Abs", ["sum"], ["other"]),
    ]
    x, z = random(3, 5), random(3, 5, seed=1)
    model = model_of(nodes, {"x": [3, 5], "z": [3, 5]}, {"y": [3, 5], "other": [3, 5]})
    graph = emulated(model, [{"x": x, "z": z}])
    total = u8(u8(x) + u8(z), x + z)
    found = run_graph(graph.main, {"x": x, "z": z}, tmp_path)
    same(found["y"], np.maximum(total, 0))
    same(found["other"], u8(np.abs(total), np.abs(x + z)))


def test_constants_of_elementwise_operators_are_unsigned_over_their_own_values(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "c"], ["product"]), helper.make_node("Add", ["product", "d"], ["y"])]
    c, d, x = random(5, seed=1, low=0.5), random(5, seed=2, low=-9, high=-8), random(3, 5)
    graph = emulated(model_of(nodes, {"x": [3, 5]}, {"y": [3, 5]}, constants={"c": c, "d": d}), [{"x": x}])
    # Ranges are those of the graph that holds the rounded constants already.
    exact = x * u8(c)
    product = u8(u8(x) * u8(c), exact)
    same(run_graph(graph.main, {"x": x}, tmp_path)["y"], u8(product + u8(d), exact + u8(d)))


def test_a_division_by_a_constant_is_a_product_with_its_reciprocal(tmp_path: Path) -> None:
    node = helper.make_node("Div", ["x", "c"], ["y"])
    c, x = random(5, seed=1, low=0.5), random(3, 5)
    graph = emulated(model_of([node], {"x": [3, 5]}, {"y": [3, 5]}, constants={"c": c}), [{"x": x}])
    factor = u8(np.float32(1) / c)
    same(run_graph(graph.main, {"x": x}, tmp_path)["y"], u8(u8(x) * factor, x * factor))


def test_a_product_of_two_live_tensors_reads_signed_numbers(tmp_path: Path) -> None:
    model = model_of([helper.make_node("MatMul", ["x", "z"], ["y"])], {"x": [3, 4], "z": [4, 5]}, {"y": [3, 5]})
    x, z = random(3, 4), random(4, 5, seed=1)
    graph = emulated(model, [{"x": x, "z": z}])
    same(run_graph(graph.main, {"x": x, "z": z}, tmp_path)["y"], u8(s8(x) @ s8(z), x @ z))
    assert [tensor.format for tensor in graph.tensors] == ["S8", "S8", "U8"]


def test_an_operand_that_others_read_too_is_rounded_twice(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("MatMul", ["a", "z"], ["y"]),
        helper.make_node("Sqrt", ["a"], ["other"]),
    ]
    model = model_of(nodes, {"x": [3, 4], "z": [4, 5]}, {"y": [3, 5], "other": [3, 4]})
    x, z = random(3, 4), random(4, 5, seed=1)
    graph = emulated(model, [{"x": x, "z": z}])
    a = u8(np.abs(u8(x)), np.abs(x))
    found = run_graph(graph.main, {"x": x, "z": z}, tmp_path)
    same(found["y"], u8(s8(a, np.abs(x)) @ s8(z), np.abs(x) @ z))
    same(found["other"], u8(np.sqrt(a), np.sqrt(np.abs(x))))


def test_a_movement_operator_before_a_live_product_is_signed_with_its_input(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("Transpose", ["a"], ["t"]),
        helper.make_node("MatMul", ["t", "z"], ["y"]),
    ]
    x, z = random(4, 3), random(4, 5, seed=1)
    graph = emulated(model_of(nodes, {"x": [4, 3], "z": [4, 5]}, {"y": [3, 5]}), [{"x": x, "z": z}])
    a = s8(np.abs(u8(x)), np.abs(x))
    same(run_graph(graph.main, {"x": x, "z": z}, tmp_path)["y"], u8(a.T @ s8(z), np.abs(x).T @ z))


def test_a_movement_operator_before_a_live_product_rounds_where_its_input_has_other_readers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("Transpose", ["a"], ["t"]),
        helper.make_node("MatMul", ["t", "z"], ["y"]),
        helper.make_node("Sqrt", ["a"], ["other"]),
    ]
    model = model_of(nodes, {"x": [4, 3], "z": [4, 5]}, {"y": [3, 5], "other": [4, 3]})
    x, z = random(4, 3), random(4, 5, seed=1)
    graph = emulated(model, [{"x": x, "z": z}])
    a = u8(np.abs(u8(x)), np.abs(x))
    found = run_graph(graph.main, {"x": x, "z": z}, tmp_path)
    same(found["y"], u8(s8(a, np.abs(x)).T @ s8(z), np.abs(x).T @ z))
    assert {tensor.name: tensor.format for tensor in graph.tensors}["t"] == "S8"


def test_movement_operators_share_one_scale_over_the_union_of_their_ranges(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["a"]),
        helper.make_node("Pad", ["a", "pads", "value"], ["padded"]),
        helper.make_node("Slice", ["padded", "starts", "ends", "axes"], ["y"]),
    ]
    constants = {"pads": int64(0, 1, 0, 1), "value": np.float32(0), "starts": int64(1), "ends": int64(4)}
    constants["axes"] = int64(1)  # type: ignore[assignment]
    x = random(2, 5)
    graph = emulated(model_of(nodes, {"x": [2, 5]}, {"y": [2, 3]}, constants=constants), [{"x": x}])
    sigmoid = (1 / (1 + np.exp(-u8(x).astype(np.float64)))).astype(np.float32)
    exact = (1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)
    same(run_graph(graph.main, {"x": x}, tmp_path)["y"], u8(sigmoid, exact)[:, :3])
    assert len({tensor.scale for tensor in graph.tensors if tensor.name in ("a", "padded", "y")}) == 1
    assert [tensor.name for tensor in graph.tensors if tensor.rounded] == ["x", "a"]


def test_the_negative_has_the_mirrored_codes(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Neg", ["x"], ["y"])], {"x": [3, 5]}, {"y": [3, 5]})
    x = random(3, 5)
    graph = emulated(model, [{"x": x}])
    same(run_graph(graph.main, {"x": x}, tmp_path)["y"], -u8(x))
    fed, negative = graph.tensors
    assert (negative.scale, negative.zero_point) == (fed.scale, 255 - fed.zero_point)


def test_comparisons_are_exact_on_rounded_numbers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Greater", ["x", "threshold"], ["mask"]),
        helper.make_node("Where", ["mask", "x", "z"], ["y"]),
    ]
    model = model_of(
        nodes, {"x": [3, 5], "z": [3, 5]}, {"y": [3, 5]}, constants={"threshold": np.array([[0.7]], np.float32)}
    )
    x, z = random(3, 5), random(3, 5, seed=1)
    graph = emulated(model, [{"x": x, "z": z}])
    chosen = np.where(u8(x) > u8(np.array([[0.7]], np.float32)), u8(x), u8(z))
    same(run_graph(graph.main, {"x": x, "z": z}, tmp_path)["y"], u8(chosen, np.where(x > 0.7, x, z)))


def test_what_is_no_number_becomes_the_end_of_the_range(tmp_path: Path) -> None:
    nodes = [helper.make_node("Div", ["x", "z"], ["ratio"]), helper.make_node("Abs", ["ratio"], ["y"])]
    one, four = np.ones((1, 2), np.float32), np.full((1, 2), 4, np.float32)
    graph = emulated(model_of(nodes, {"x": [1, 2], "z": [1, 2]}, {"y": [1, 2]}), [{"x": four, "z": one}])
    found = run_graph(graph.main, {"x": np.array([[0, 1]], np.float32), "z": np.zeros((1, 2), np.float32)}, tmp_path)
    np.testing.assert_allclose(found["y"], 4)


def test_a_normalisation_is_rounded_behind_and_not_inside(tmp_path: Path) -> None:
    node = helper.make_node("LayerNormalization", ["x", "scale", "shift"], ["y"], axis=-1)
    scale, shift, x = random(6, seed=1), random(6, seed=2), random(4, 6)

    def plain(x: F) -> F:
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * scale + shift

    constants = {"scale": scale, "shift": shift}
    graph = emulated(model_of([node], {"x": [4, 6]}, {"y": [4, 6]}, constants=constants), [{"x": x}])
    same(run_graph(graph.main, {"x": x}, tmp_path)["y"], u8(plain(u8(x)), plain(x)))


def test_batch_normalisation_goes_into_the_convolution_before_its_weights_are_rounded(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["conv"]),
        helper.make_node("BatchNormalization", ["conv", "scale", "shift", "mean", "variance"], ["y"]),
    ]
    w, x = random(5, 3, 1, 1, seed=1, low=-1, high=1), random(1, 3, 4, 4)
    scale, shift, mean, variance = (random(5, seed=seed, low=0.5) for seed in range(4))
    constants = {"w": w, "scale": scale, "shift": shift, "mean": mean, "variance": variance}
    graph = emulated(model_of(nodes, {"x": [1, 3, 4, 4]}, {"y": None}, constants=constants), [{"x": x}])
    factor = scale / np.sqrt(variance + np.float32(1e-5))
    matrix = s8_per_channel((w[:, :, 0, 0] * factor[:, None]).astype(np.float32), 0)

    def plain(x: F) -> F:
        summed = np.einsum("oc,bchw->bohw", matrix, x) + (shift - mean * factor)[None, :, None, None]
        return np.asarray(summed, np.float32)

    same(run_graph(graph.main, {"x": x}, tmp_path)["y"], u8(plain(u8(x)), plain(x)))


def test_percentile_leaves_a_ten_thousandth_of_the_values_out_at_each_end(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Abs", ["x"], ["y"])], {"x": [300, 100]}, {"y": [300, 100]})
    x = random(300, 100)
    x[0, :3] = [-900, 900, 800]
    ordered = np.sort(x.ravel())
    graph = emulated(model, [{"x": x}], percentile=True)
    assert graph.ranges["x"] == (ordered[3], ordered[-4])
    clipped = u8(x, ordered[[3, -4]])
    same(run_graph(graph.main, {"x": x}, tmp_path)["y"], u8(np.abs(clipped), np.sort(np.abs(x).ravel())[[3, -4]]))


def test_sixteen_bits_for_a_whole_model(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "z"], ["m"]), helper.make_node("Mul", ["m", "c"], ["y"])]
    x, z, c = random(3, 4), random(4, 5, seed=1), random(5, seed=2)
    model = model_of(nodes, {"x": [3, 4], "z": [4, 5]}, {"y": [3, 5]}, constants={"c": c})
    everything = {"start_tensor_names": ["DEFAULT"], "end_tensor_names": ["DEFAULT"], "data_type": "U16"}
    graph = emulated(model, [{"x": x, "z": z}], everything)
    m = u16(s8(x, half=32767.5) @ s8(z, half=32767.5), x @ z)
    found = run_graph(graph.main, {"x": x, "z": z}, tmp_path)["y"]
    np.testing.assert_allclose(found, u16(m * u16(c), x @ z * u16(c)), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("grid", "rounding"), [("U8", u8), ("U16", u16), ("FP32", lambda values, _: values)])
def test_the_grid_of_a_sampling_can_be_kept_finer(tmp_path: Path, grid: str, rounding: Callable[[F, F], F]) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "z"], ["places"]),
        helper.make_node("Reshape", ["places", "shape"], ["grid"]),
        helper.make_node("GridSample", ["map", "grid"], ["y"], align_corners=0),
    ]
    model = model_of(
        nodes, {"x": [6, 2], "z": [6, 2], "map": [1, 1, 8, 8]}, {"y": None}, constants={"shape": int64(1, 2, 3, 2)}
    )
    feed = {"x": random(6, 2, low=-1, high=1), "z": random(6, 2, seed=1), "map": random(1, 1, 8, 8, seed=2)}
    graph = emulated(model, [feed], grid=grid)
    places = rounding(u8(feed["x"]) * u8(feed["z"]), feed["x"] * feed["z"])
    plain = model_of([nodes[2]], {"map": [1, 1, 8, 8], "grid": [1, 2, 3, 2]}, {"y": None})

    def sampled(image: F, places: F) -> F:
        return run_graph(plain, {"map": image, "grid": places.reshape(1, 2, 3, 2)}, tmp_path)["y"]

    expected = u8(sampled(u8(feed["map"]), places), sampled(feed["map"], feed["x"] * feed["z"]))
    same(run_graph(graph.main, feed, tmp_path)["y"], expected)
