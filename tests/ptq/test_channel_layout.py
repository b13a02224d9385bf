"""Where channels go: against a tensor whose every element is its channel."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from bevformer_lib.ptq.channel_layout import (
    Layout,
    aligned,
    channel_map,
    layout_of,
    moved,
    number_of_values,
    only_axis,
    reshaped,
)


def tags(shape: tuple[int, ...], axis: int) -> NDArray[np.int64]:
    sizes = [-1 if at == axis % len(shape) else 1 for at in range(len(shape))]
    return np.broadcast_to(np.arange(shape[axis]).reshape(sizes), shape)


def whole(layout: Layout, shape: tuple[int, ...]) -> NDArray[np.int64]:
    return np.broadcast_to(channel_map(layout), shape)


def test_heads_are_split_off_and_joined_again() -> None:
    """As the values of an attention go: (B, L, C) -> (B, C, L) -> (B heads, C / heads, H, W) and back."""
    layout, expected = layout_of((2, 12, 8), -1), tags((2, 12, 8), -1)
    turned = moved(helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 1]), layout, (2, 8, 12), {})
    assert turned is not None
    heads = reshaped(turned, (8, 2, 3, 4))
    assert heads is not None
    np.testing.assert_array_equal(whole(heads, (8, 2, 3, 4)), expected.transpose(0, 2, 1).reshape(8, 2, 3, 4))
    assert not only_axis(heads, 1)
    assert number_of_values(heads) == 2 * 12 * 8
    assert reshaped(heads, (2, 8, 12)) == turned
    back = moved(helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 1]), turned, (2, 12, 8), {}, backward=True)
    assert back == layout


def test_a_shape_that_cuts_through_a_channel_s_positions_has_no_layout() -> None:
    assert reshaped(layout_of((4, 6), 0), (3, 8)) is None


@pytest.mark.parametrize(
    ("node", "shape", "known"),
    [
        (helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2]), (2, 6, 2, 2), True),
        (helper.make_node("Split", ["x", "s"], ["y", "z"], axis=2), (2, 6, 2, 4), True),
        (helper.make_node("Split", ["x", "s"], ["y", "z"], axis=1), (2, 3, 4, 4), False),
        (helper.make_node("Gather", ["x", "i"], ["y"], axis=1), (2, 6, 4, 4), False),
        (helper.make_node("Gather", ["x", "i"], ["y"], axis=0), (3, 6, 4, 4), True),
        (helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=1), (2, 6, 1, 1), True),
        (helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=1), (2, 1, 4, 4), False),
        (helper.make_node("Slice", ["x", "a", "b", "c", "step"], ["y"]), (2, 6, 4, 4), False),
        (helper.make_node("Slice", ["x", "a", "b", "c"], ["y"]), (2, 6, 2, 4), True),
        (helper.make_node("Softmax", ["x"], ["y"], axis=2), (2, 6, 4, 4), False),
        (helper.make_node("ReduceSum", ["x", "unknown"], ["y"]), (2, 6, 1, 4), False),
    ],
)
def test_operators_keep_the_axis_of_the_channels_or_are_not_known(
    node: onnx.NodeProto, shape: tuple[int, ...], known: bool
) -> None:
    found = moved(node, layout_of((2, 6, 4, 4), 1), shape, {"step": np.array([-1])})
    assert found == (layout_of(shape, 1) if known else None)


def test_a_sum_that_leaves_its_axis_out_and_the_way_back() -> None:
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)
    layout = layout_of((2, 6, 4, 5), 1)
    summed = moved(node, layout, (2, 6, 5), {"axes": np.array([-2])})
    assert summed == layout_of((2, 6, 5), 1)
    assert moved(node, summed, (2, 6, 4, 5), {"axes": np.array([-2])}, backward=True) == layout


def test_an_operand_that_is_spread_must_have_the_channels() -> None:
    layout = layout_of((2, 12, 8), -1)
    assert aligned(layout, (8,)) == layout_of((8,), 0)
    assert aligned(layout, (1, 12, 8)) == layout_of((1, 12, 8), -1)
    assert aligned(layout, (12, 1)) is None
