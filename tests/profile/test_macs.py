from __future__ import annotations

from typing import Any

import pytest
from onnx import NodeProto, helper

from bevformer_lib.profile.macs import count_macs


def _node(operator: str, *inputs: str, **given: Any) -> NodeProto:
    return helper.make_node(operator, list(inputs), ["y"], **given)


@pytest.mark.parametrize(
    ("node", "shapes", "by_hand"),
    [
        # 2 pictures x 8 channels x 5 x 6 positions, each 3 channels x 3 x 3.
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
        (_node("Add", "a", "b"), {"a": (3, 4), "b": (3, 4), "y": (3, 4)}, 0),
        (helper.make_node("Conv", ["x", "w"], ["y"], domain="other"), {}, 0),
    ],
    ids=lambda value: value.op_type if isinstance(value, NodeProto) else "",
)
def test_macs_counted_by_hand(node: NodeProto, shapes: dict[str, tuple[int, ...]], by_hand: int) -> None:
    assert count_macs(node, shapes) == by_hand
