"""onnxsim: constants folded, batch normalisation merged into convolutions, identities removed.

before::

    y = BatchNormalization(Conv(x, w), scale, bias, mean, var)
    z = Reshape(y, Concat([6], [-1]))

after::

    y = Conv(x, w', b')
    z = Reshape(y, [6, -1])

The result is compared with what went in: names, types and shapes of inputs and outputs exactly, and the outputs for one
random input numerically. A difference is an error that says what changed.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import onnxsim
from numpy.typing import NDArray

from bevformer_lib.errors import ExportError
from bevformer_lib.export.graph import graph_inputs, static_shape
from bevformer_lib.export.passes.base import PassResult
from bevformer_lib.fidelity import relative_difference

TOLERANCE: Final = 1e-4
"""Largest norm of the difference over norm: merging batch normalisation reorders float32 sums (1e-6 to 1e-5)."""

_CHECK_SEED: Final = 0

_SKIPPED: Final = ("fuse_matmul_add_bias_into_gemm_batched",)
"""Would turn MatMul and Add on three axes into Reshape, Gemm and Reshape: no node fewer, more to quantise."""


def apply(model: onnx.ModelProto, *, compare_values: bool = True) -> PassResult:
    """Simplify a graph of fixed input shapes.

    Args:
        model: any graph that ONNX Runtime can run; it is not modified.
        compare_values: whether to run both graphs and compare their outputs; a caller that proves the result anyway
            saves two runs of the model.

    Returns:
        The simplified graph and the number of nodes by which it is smaller.

    Raises:
        ExportError: an input has no fixed shape, onnxsim failed, or the result differs from what went in.
    """
    _require_static_inputs(model)
    try:
        simplified, _ = onnxsim.simplify(model, skipped_optimizers=list(_SKIPPED))
    except Exception as error:  # onnxsim raises whatever its C++ core met, bare RuntimeError included
        raise ExportError(f"onnxsim failed on the graph: {error}") from error
    _constants_to_initializers(simplified.graph)
    _restore_origin(model, simplified)
    _require_same_interface(model, simplified)
    if compare_values:
        _require_same_outputs(model, simplified)
    return PassResult(simplified, len(model.graph.node) - len(simplified.graph.node))


def _require_static_inputs(model: onnx.ModelProto) -> None:
    for value in graph_inputs(model.graph):
        if static_shape(value) is None:
            raise ExportError(f"input {value.name!r} has no fixed shape; export the graph with static shapes")


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    """Turn, in place, ``Constant`` nodes that the last round of folding left into initializers."""
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
            del graph.node[index]


def _restore_origin(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    """Put back who made the graph, in place of onnxsim's log of its work (written in no fixed order)."""
    after.producer_name, after.producer_version = before.producer_name, before.producer_version
    del after.metadata_props[:]
    after.metadata_props.extend(before.metadata_props)


def _require_same_interface(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    for what, old, new in (
        ("inputs", graph_inputs(before.graph), graph_inputs(after.graph)),
        ("outputs", list(before.graph.output), list(after.graph.output)),
    ):
        if [_signature(value) for value in old] != [_signature(value) for value in new]:
            raise ExportError(
                f"onnxsim changed the graph's {what}: from {[_signature(value) for value in old]} "
                f"to {[_signature(value) for value in new]}"
            )


def _signature(value: onnx.ValueInfoProto) -> tuple[str, str, tuple[int, ...] | None]:
    return value.name, onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type), static_shape(value)


def _require_same_outputs(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    feed = _random_feed(before)
    expected, given = _run(before, feed), _run(after, feed)
    for name, reference in expected.items():
        difference = relative_difference(given[name], reference)
        if not difference <= TOLERANCE:
            raise ExportError(
                f"onnxsim changed output {name!r}: relative difference {difference:.2e}, "
                f"at most {TOLERANCE:.0e} is allowed"
            )


def _random_feed(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    generator = np.random.default_rng(_CHECK_SEED)
    return {
        value.name: generator.standard_normal(static_shape(value)).astype(
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        )
        for value in graph_inputs(model.graph)
    }


def _run(model: onnx.ModelProto, feed: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    names = [value.name for value in model.graph.output]
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return dict(zip(names, session.run(names, feed), strict=True))
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise ExportError(f"ONNX Runtime can't run the graph: {error}") from error
