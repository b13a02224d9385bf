"""onnxsim: constants folded, batch normalisation merged into convolutions, identities removed.

before::

    y = BatchNormalization(Conv(x, w), scale, bias, mean, var)
    z = Reshape(y, Concat([6], [-1]))

after::

    y = Conv(x, w', b')
    z = Reshape(y, [6, -1])

The result is compared with what went in: names, types and shapes of inputs and outputs, as far as they were declared,
and the outputs for one random input numerically. A difference is an error that says what changed.
"""

from __future__ import annotations

from typing import Any, Final

import onnx
import onnxsim
from numpy.typing import NDArray

from bevformer_lib.errors import ExportError
from bevformer_lib.export.graph import graph_inputs, static_shape, without_large_weights
from bevformer_lib.export.made_up_feed import made_up_feed
from bevformer_lib.export.passes.base import PassResult
from bevformer_lib.export.run_once import run_once
from bevformer_lib.fidelity import relative_difference

TOLERANCE: Final = 1e-4
"""Largest norm of the difference over norm: merging batch normalisation reorders float32 sums (1e-6 to 1e-5)."""

_UNDECLARED: Final = "UNDEFINED"

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
        simplified, _ = onnxsim.simplify(_with_declared_outputs(model), skipped_optimizers=list(_SKIPPED))
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


def _with_declared_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph whose outputs all say how many axes they have, without which onnxsim takes none."""
    if all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
        return model
    declared = onnx.ModelProto()
    declared.CopyFrom(model)
    light = without_large_weights(model)
    inferred = {value.name: value for value in onnx.shape_inference.infer_shapes(light, data_prop=True).graph.output}
    outputs: dict[str, NDArray[Any]] = {}
    for value in declared.graph.output:
        if value.type.tensor_type.HasField("shape"):
            continue
        value.CopyFrom(inferred[value.name])
        if not value.type.tensor_type.HasField("shape"):
            outputs = outputs or run_once(model, made_up_feed(model.graph))
            open_shape = [None] * outputs[value.name].ndim
            kind = onnx.helper.np_dtype_to_tensor_dtype(outputs[value.name].dtype)
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, open_shape))
    return declared


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
        if len(old) != len(new) or not all(map(_is_same, old, new)):
            raise ExportError(
                f"onnxsim changed the graph's {what}: from {[_signature(value) for value in old]} "
                f"to {[_signature(value) for value in new]}"
            )


def _is_same(before: onnx.ValueInfoProto, after: onnx.ValueInfoProto) -> bool:
    """Whether a value is what it was declared to be; exporters leave shapes, and onnxsim infers them."""
    (old_name, old_type, old_shape), (name, kind, shape) = _signature(before), _signature(after)
    return old_name == name and old_type in (kind, _UNDECLARED) and old_shape in (shape, None)


def _signature(value: onnx.ValueInfoProto) -> tuple[str, str, tuple[int, ...] | None]:
    return value.name, onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type), static_shape(value)


def _require_same_outputs(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    feed = made_up_feed(before.graph)
    expected, given = run_once(before, feed), run_once(after, feed)
    for name, reference in expected.items():
        difference = relative_difference(given[name], reference)
        if not difference <= TOLERANCE:
            raise ExportError(
                f"onnxsim changed output {name!r}: relative difference {difference:.2e}, "
                f"at most {TOLERANCE:.0e} is allowed"
            )
