from __future__ import annotations

from typing import Any

import pytest
from onnx import NodeProto, helper

from bevformer_lib.errors import ExportError
from bevformer_lib.export.macs import count_macs, is_left_out


def _node(operator: str, *inputs: str, **given: Any) -> NodeProto:
    return helper.make_node(operator, list(inputs), ["y"], **given)


@pytest.mark.parametrize(
    ("node", "shapes", "by_hand"),
    [
        # 2 images x 8 channels x 5 x 6 positions, each 3 channels x 3 x 3.
        (_node("Conv", "x", "w", "b"), {"x": (2, 3, 5, 6), "w": (8, 3, 3, 3), "y": (2, 8, 5, 6)}, 2 * 8 * 30 * 27),
        # Strided: the output's positions count.
        (_node("Conv", "x", "w"), {"x": (1, 4, 8, 8), "w": (6, 4, 1, 1), "y": (1, 6, 4, 4)}, 6 * 16 * 4),
        # Two groups: every output channel sees half of the 8 input channels.
        (_node("Conv", "x", "w", group=2), {"x": (1, 8, 4, 4), "w": (8, 4, 3, 3), "y": (1, 8, 4, 4)}, 8 * 16 * 4 * 9),
        # Depthwise.
        (_node("Conv", "x", "w", group=8), {"x": (1, 8, 4, 4), "w": (8, 1, 3, 3), "y": (1, 8, 4, 4)}, 8 * 16 * 9),
        # 2 x 2, stride 2: each of 3 x 16 inputs is spread to 5 channels x 4 pixels.
        (
            _node("ConvTranspose", "x", "w", strides=[2, 2]),
            {"x": (1, 3, 4, 4), "w": (3, 5, 2, 2), "y": (1, 5, 8, 8)},
            3 * 16 * 5 * 4,
        ),
        (_node("MatMul", "a", "b"), {"a": (7, 11), "b": (11, 13), "y": (7, 13)}, 7 * 11 * 13),
        (_node("MatMul", "a", "b"), {"a": (2, 8, 9, 4), "b": (2, 8, 4, 9), "y": (2, 8, 9, 9)}, 16 * 9 * 4 * 9),
        (_node("MatMul", "a", "b"), {"a": (5, 9, 4), "b": (4, 3), "y": (5, 9, 3)}, 5 * 9 * 4 * 3),
        (_node("Gemm", "a", "b", "c", transB=1), {"a": (7, 11), "b": (13, 11), "y": (7, 13)}, 7 * 11 * 13),
        (_node("Gemm", "a", "b", transA=1), {"a": (11, 7), "b": (11, 13), "y": (7, 13)}, 7 * 11 * 13),
        (_node("GridSample", "x", "g"), {"x": (1, 4, 9, 9), "g": (1, 5, 6, 2), "y": (1, 4, 5, 6)}, 4 * 120),
        (
            _node("GridSample", "x", "g", mode="nearest"),
            {"x": (1, 4, 9, 9), "g": (1, 5, 6, 2), "y": (1, 4, 5, 6)},
            120,
        ),
        # A volume: 8 neighbours of 1 x 2 x 4 x 4 x 4 samples.
        (
            _node("GridSample", "x", "g", mode="linear"),
            {"x": (1, 2, 5, 5, 5), "g": (1, 4, 4, 2, 3), "y": (1, 2, 4, 4, 2)},
            8 * 64,
        ),
        (
            _node("GridSample", "x", "g", mode="cubic"),
            {"x": (1, 4, 9, 9), "g": (1, 5, 6, 2), "y": (1, 4, 5, 6)},
            16 * 120,
        ),
        (
            helper.make_node("GridSample", ["x", "g"], ["y"], domain="com.microsoft"),
            {"x": (1, 4, 9, 9), "g": (1, 5, 6, 2), "y": (1, 4, 5, 6)},
            4 * 120,
        ),
        # The convolution, 6 x 16 x 4 x 9, and 4 pixels for each of 4 channels x 16 positions x 9 kernel elements.
        (
            _node("DeformConv", "x", "w", "o"),
            {"x": (1, 4, 4, 4), "w": (6, 4, 3, 3), "o": (1, 18, 4, 4), "y": (1, 6, 4, 4)},
            6 * 16 * 36 + 4 * 4 * 16 * 9,
        ),
        (_node("MatMulInteger", "a", "b"), {"a": (7, 11), "b": (11, 13), "y": (7, 13)}, 7 * 11 * 13),
        (
            _node("QLinearMatMul", "a", "s", "z", "b", "t", "u", "v", "w"),
            {"a": (7, 11), "b": (11, 13), "y": (7, 13)},
            7 * 11 * 13,
        ),
        (_node("ConvInteger", "x", "w"), {"x": (1, 4, 8, 8), "w": (6, 4, 1, 1), "y": (1, 6, 8, 8)}, 6 * 64 * 4),
        (
            _node("QLinearConv", "x", "s", "z", "w", "t", "u", "v", "o"),
            {"x": (1, 4, 8, 8), "w": (6, 4, 3, 3), "y": (1, 6, 8, 8)},
            6 * 64 * 4 * 9,
        ),
        # 5 steps x 2 sequences, 2 directions x 4 gates x 7 units, each from 3 inputs and 7 states.
        (
            helper.make_node("LSTM", ["x", "w", "r"], ["", "y"]),
            {"x": (5, 2, 3), "w": (2, 28, 3), "r": (2, 28, 7), "y": (2, 2, 7)},
            5 * 2 * 2 * 28 * (3 + 7),
        ),
        (_node("Add", "a", "b"), {"a": (3, 4), "b": (3, 4), "y": (3, 4)}, 0),
        (helper.make_node("Conv", ["x", "w"], ["y"], domain="other"), {}, 0),
    ],
    ids=lambda value: value.op_type if isinstance(value, NodeProto) else "",
)
def test_macs_counted_by_hand(node: NodeProto, shapes: dict[str, tuple[int, ...]], by_hand: int) -> None:
    assert count_macs(node, shapes) == by_hand


@pytest.mark.parametrize(
    ("equation", "operands", "by_hand"),
    [
        ("bij,jk->bik", [(2, 3, 4), (4, 5)], 2 * 3 * 4 * 5),
        ("b i j, b j k -> b i k", [(2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
        ("ij,jk", [(3, 4), (4, 5)], 3 * 4 * 5),
        ("i,i->", [(7,), (7,)], 7),
        ("ij,ij->ij", [(1, 4), (3, 4)], 3 * 4),
        ("...ij,...jk->...ik", [(6, 1, 3, 4), (2, 4, 5)], 6 * 2 * 3 * 4 * 5),
        ("...ij,...jk", [(6, 2, 3, 4), (2, 4, 5)], 6 * 2 * 3 * 4 * 5),
        # Moving and summing multiplies nothing.
        ("ij->ji", [(3, 4)], 0),
        # (i, j) x (j, k), and the (i, k) of it x (k, l).
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], 2 * 3 * 4 + 2 * 4 * 5),
        ("ij,jk,kl", [(2, 3), (3, 4), (4, 5)], 2 * 3 * 4 + 2 * 4 * 5),
        # j is still to come, so it stays.
        ("ij,jk,jl->il", [(2, 3), (3, 4), (3, 5)], 2 * 3 * 4 + 2 * 3 * 5),
    ],
)
def test_einsum_is_counted_from_its_labels(equation: str, operands: list[tuple[int, ...]], by_hand: int) -> None:
    names = [f"x{index}" for index in range(len(operands))]
    node = _node("Einsum", *names, equation=equation)
    assert count_macs(node, dict(zip(names, operands, strict=True))) == by_hand


@pytest.mark.parametrize(
    ("node", "left_out"),
    [
        (_node("Attention", "q", "k", "v"), True),
        (_node("Resize", "x", mode="linear"), True),
        (_node("Resize", "x"), False),
        (_node("Loop"), True),
        (_node("Silu", "x"), True),
        (helper.make_node("MatMul", ["x"], ["y"], domain="other"), True),
        (helper.make_node("GridSample", ["x"], ["y"], domain="com.microsoft"), False),
        (_node("Einsum", "x"), False),
        (_node("Softmax", "x"), False),
        (_node("LayerNormalization", "x"), False),
    ],
    ids=lambda value: value.op_type if isinstance(value, NodeProto) else "",
)
def test_what_multiplies_and_is_not_counted_is_known(node: NodeProto, left_out: bool) -> None:
    assert is_left_out(node) is left_out


def test_a_sampling_mode_that_does_not_exist_is_named() -> None:
    node = helper.make_node("GridSample", ["x", "g"], ["y"], "sample", mode="best")
    with pytest.raises(ExportError, match="GridSample 'sample': the standard has no mode 'best'"):
        count_macs(node, {"y": (1, 4, 5, 6)})
