"""Hand-made graphs with an If and with a Loop, whose bodies read tensors of the graph around them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests.export.graphs import int64, model_of

_WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4) / 10


def branching_model(*, also: dict[str, NDArray[Any]] | None = None) -> onnx.ModelProto:
    """z = 2 squeeze(x) w where the first value of x is positive, else reshape(x) w; x is (1, 2, 3)."""
    then = helper.make_graph(
        [
            helper.make_node("Squeeze", ["x", "first"], ["t"], "squeeze"),
            helper.make_node("Gemm", ["t", "w"], ["ty"], "gemm", alpha=2.0),
        ],
        "then",
        [],
        [_open("ty")],
    )
    other = helper.make_graph(
        [helper.make_node("Reshape", ["x", "flat"], ["e"]), helper.make_node("MatMul", ["e", "w"], ["ey"])],
        "else",
        [],
        [_open("ey")],
    )
    nodes = [
        helper.make_node("Flatten", ["x"], ["row"]),
        helper.make_node("Gather", ["row", "start"], ["corner"], axis=1),
        helper.make_node("Greater", ["corner", "zero"], ["is_positive"]),
        helper.make_node("If", ["is_positive"], ["z"], "if", then_branch=then, else_branch=other),
    ]
    constants = {
        "first": int64(0),
        "start": int64(0),
        "flat": int64(2, 3),
        "w": _WEIGHT,
        "zero": np.zeros((1, 1), np.float32),
        **(also or {}),
    }
    return model_of(nodes, {"x": (1, 2, 3)}, {"z": ("a", "b")}, constants=constants)


def looping_model() -> onnx.ModelProto:
    """z = x plus three times squeeze(x) w; x is (1, 3, 3)."""
    body = helper.make_graph(
        [
            helper.make_node("Squeeze", ["x", "first"], ["s"]),
            helper.make_node("MatMul", ["s", "square"], ["m"]),
            helper.make_node("Add", ["sum", "m"], ["sum_out"]),
            helper.make_node("Identity", ["goes_on"], ["goes_on_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            _open("sum"),
        ],
        [helper.make_tensor_value_info("goes_on_out", TensorProto.BOOL, []), _open("sum_out")],
    )
    constants = {
        "first": int64(0),
        "square": _WEIGHT[:, :3].copy(),
        "times": np.array(3, np.int64),
        "always": np.array(True),
    }
    nodes = [helper.make_node("Loop", ["times", "always", "x"], ["z"], "loop", body=body)]
    return model_of(nodes, {"x": (1, 3, 3)}, {"z": ("a", "b", "c")}, constants=constants)


def _open(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
