"""What the rules need to know of a graph as a whole, found once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import onnx

from bevformer_lib.export.graph import StaticShape, default_opset, static_shape, without_large_weights

_INFERENCE_ERRORS: Final = (onnx.shape_inference.InferenceError, RuntimeError, ValueError)


@dataclass(frozen=True)
class GraphFacts:
    """Shapes, types and constants by tensor name.

    Attributes:
        shapes: shapes that are fixed.
        ranks: number of axes, where it is known, fixed or not.
        types: element types, as ``onnx.TensorProto.DataType``.
        constants: names of initializers and of the outputs of ``Constant`` nodes.
        opset: version of the standard operator set, which gives left-out attributes their defaults.
        contradiction: what ONNX says where the shapes and types don't fit together; empty where they do.
    """

    shapes: Mapping[str, StaticShape]
    ranks: Mapping[str, int]
    types: Mapping[str, int]
    constants: frozenset[str]
    opset: int
    contradiction: str


def graph_facts(model: onnx.ModelProto) -> GraphFacts:
    """Return what is declared in a graph or follows from it; the weights are not touched."""
    inferred, contradiction = _inferred(without_large_weights(model))
    shapes: dict[str, StaticShape] = {}
    ranks: dict[str, int] = {}
    types: dict[str, int] = {}
    for tensor in inferred.initializer:
        shapes[tensor.name] = tuple(tensor.dims)
        ranks[tensor.name] = len(tensor.dims)
        types[tensor.name] = tensor.data_type
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        if not value.type.HasField("tensor_type"):
            continue
        types[value.name] = value.type.tensor_type.elem_type
        if value.type.tensor_type.HasField("shape"):
            ranks[value.name] = len(value.type.tensor_type.shape.dim)
        shape = static_shape(value)
        if shape is not None:
            shapes[value.name] = shape
    constants = initializer_names(model.graph)
    constants.update(name for node in model.graph.node if node.op_type == "Constant" for name in node.output)
    return GraphFacts(shapes, ranks, types, frozenset(constants), default_opset(model), contradiction)


def initializer_names(graph: onnx.GraphProto) -> set[str]:
    """Return the names of a graph's initializers, sparse ones included."""
    return {
        *(tensor.name for tensor in graph.initializer),
        *(tensor.values.name for tensor in graph.sparse_initializer),
    }


def type_name(data_type: int) -> str:
    """Return the name of an ``onnx.TensorProto.DataType`` (``float32``), ``type N`` where the standard has none."""
    if data_type == onnx.TensorProto.STRING:
        return "string"
    try:
        return onnx.helper.tensor_dtype_to_np_dtype(data_type).name
    except KeyError:
        return f"type {data_type}"


def _inferred(light: onnx.ModelProto) -> tuple[onnx.GraphProto, str]:
    """Return a graph with the shapes that can be inferred, and what ONNX objects to, empty where to nothing."""
    contradiction = ""
    try:
        # Not with data_prop, which fails on branches that read the same tensor.
        onnx.shape_inference.infer_shapes(light, strict_mode=True)
    except _INFERENCE_ERRORS as error:
        contradiction = one_line(error)
    try:
        return onnx.shape_inference.infer_shapes(light, data_prop=True).graph, contradiction
    except _INFERENCE_ERRORS as error:
        return light.graph, one_line(error)


def one_line(error: Exception) -> str:
    """Return what an exception of ONNX says, in one line."""
    return " ".join(str(error).split()).rstrip(".")
