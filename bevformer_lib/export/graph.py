"""Questions that every rewrite and every check asks of an ONNX graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

STANDARD_DOMAINS: Final = frozenset({"", "ai.onnx"})
"""The two spellings of the standard operators' domain."""

OPSET: Final = 17
"""Operator set of every exported graph: the newest whose operators the NPU's converter lists throughout."""

REDUCTIONS: Final = frozenset(
    {"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"}
    | {"ReduceProd", "ReduceSum", "ReduceSumSquare"}
)
"""Operators that reduce the axes named by ``axes``, an attribute or an input by operator set; all where it is empty."""

MAX_SHAPE_ELEMENTS: Final = 1024
"""Initializers up to this size are kept for shape inference; shapes, axes and slice bounds are far smaller."""

StaticShape = tuple[int, ...]


def default_opset(model: onnx.ModelProto) -> int:
    """Return the version of the standard operator set that a model imports (1 where it names none)."""
    return next((entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS), 1)


def node_label(node: onnx.NodeProto) -> str:
    """Return what a person can find a node by: its name, or the name of its first output."""
    return node.name or f"(unnamed) -> {node.output[0] if node.output else '?'}"


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes as plain values; byte strings are decoded."""
    return {entry.name: _plain(onnx.helper.get_attribute_value(entry)) for entry in node.attribute}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Iterable) and not isinstance(value, str | onnx.TensorProto | onnx.GraphProto):
        return [_plain(item) for item in value]
    return value


def static_shape(value: onnx.ValueInfoProto) -> StaticShape | None:
    """Return a tensor's shape, or ``None`` where its rank or any of its dimensions is not fixed."""
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return None
    dims = value.type.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims):
        return None
    return tuple(dim.dim_value for dim in dims)


def graph_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs that a caller feeds; old graphs list their initializers among the inputs."""
    initializers = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in initializers]


def without_large_weights(model: onnx.ModelProto, *, max_elements: int = MAX_SHAPE_ELEMENTS) -> onnx.ModelProto:
    """Return a light copy for shape inference: initializers above ``max_elements`` become typed inputs.

    So do those kept in other files. A whole model is then inferred without copying or serialising its weights.
    """
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    light.graph.value_info.extend(model.graph.value_info)
    declared = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL and int(np.prod(tensor.dims)) <= max_elements:
            light.graph.initializer.append(tensor)
        elif tensor.name not in declared:
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return light


def static_shapes(model: onnx.ModelProto) -> dict[str, StaticShape]:
    """Return every shape that is fixed: declared ones, those of initializers, and those ONNX can infer."""
    return stated_shapes(onnx.shape_inference.infer_shapes(model, data_prop=True).graph)


def stated_shapes(graph: onnx.GraphProto) -> dict[str, StaticShape]:
    """Return every fixed shape that a graph states, as exported ones do for all of their tensors."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shape = static_shape(value)
        if shape is not None:
            shapes[value.name] = shape
    return shapes


def constant_values(graph: onnx.GraphProto, *, max_elements: int) -> dict[str, NDArray[Any]]:
    """Return the values of a graph's small initializers and ``Constant`` nodes by tensor name."""
    values = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if int(np.prod(tensor.dims)) <= max_elements
    }
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in STANDARD_DOMAINS:
            value = _constant_node_value(attributes(node))
            if value is not None and value.size <= max_elements:
                values[node.output[0]] = value
    return values


def _constant_node_value(given: Mapping[str, Any]) -> NDArray[Any] | None:
    if "value" in given:
        return numpy_helper.to_array(given["value"])
    for name, dtype in (
        ("value_int", np.int64),
        ("value_ints", np.int64),
        ("value_float", np.float32),
        ("value_floats", np.float32),
    ):
        if name in given:
            return np.asarray(given[name], dtype=dtype)
    return None


def drop_unused_nodes(graph: onnx.GraphProto) -> int:
    """Remove, in place, nodes whose outputs are not read and initializers that are not read; return how many nodes."""
    needed = {value.name for value in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(read_tensors(node))
            kept.append(node)
    dropped = len(graph.node) - len(kept)
    if dropped:
        kept_nodes = list(reversed(kept))
        del graph.node[:]
        graph.node.extend(kept_nodes)
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in needed:
            del graph.initializer[index]
    return dropped


def read_tensors(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names of the tensors that a node reads, those read inside its subgraphs included."""
    yield from (name for name in node.input if name)
    for entry in node.attribute:
        for subgraph in (*entry.graphs, *((entry.g,) if entry.HasField("g") else ())):
            for inner in subgraph.node:
                yield from read_tensors(inner)
            yield from (value.name for value in subgraph.output)
