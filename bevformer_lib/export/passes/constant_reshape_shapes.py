"""Shapes that are computed at run time, though nothing they depend on can change, become constants.

before::

    batch = Gather(Shape(x), 0)                 # x: (6, 256, 15, 25), fixed
    shape = Concat(Unsqueeze(batch), [-1], [256])
    y = Reshape(z, shape)

after::

    y = Reshape(z, shape)                       # shape: int64 initializer [6, -1, 256]

The same is done for ``Expand``, ``Resize``, ``Tile`` and ``ConstantOfShape``. The value of every shape is found by
evaluating, node by node, what depends on constants and fixed shapes alone; nodes that are not read afterwards go.
A shape that depends on the data is refused, and the refusal names the node where the data comes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from bevformer_lib.export.graph import (
    STANDARD_DOMAINS,
    StaticShape,
    attributes,
    constant_values,
    default_opset,
    drop_unused_nodes,
    node_label,
    read_tensors,
    static_shapes,
    without_large_weights,
)
from bevformer_lib.export.passes.base import PassResult, Refusal

_SHAPE_INPUTS: Final[Mapping[str, tuple[int, ...]]] = {
    "Reshape": (1,),
    "Expand": (1,),
    "Resize": (2, 3),
    "Tile": (1,),
    "ConstantOfShape": (0,),
}
"""Operator -> positions of the inputs that determine the shape of its output."""

_MAX_ELEMENTS: Final = 256
"""Larger tensors are data, not shapes: evaluating them would fold parts of the model here instead of in onnxsim."""

_SHAPE_ARITHMETIC: Final = frozenset(
    {
        "Add",
        "Cast",
        "Ceil",
        "Concat",
        "Div",
        "Equal",
        "Expand",
        "Floor",
        "Gather",
        "Identity",
        "Max",
        "Min",
        "Mod",
        "Mul",
    }
    | {"Neg", "Range", "ReduceProd", "Reshape", "Slice", "Split", "Squeeze", "Sub", "Unsqueeze", "Where"}
)
"""What exporters compute shapes with; used only to say where the data comes in."""

_NOT_REPEATABLE: Final = frozenset({"RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"})

_SUFFIX: Final = "_constant"


@dataclass(frozen=True)
class _ShapeUse:
    node_index: int
    position: int
    tensor: str


def apply(model: onnx.ModelProto) -> PassResult:
    """Make every computed shape that can't change an initializer.

    Returns:
        The rewritten graph, the number of node inputs that became constant, and which depend on the data.
    """
    if not _computed_uses(model.graph):
        return PassResult(model, 0)
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    changed = 0
    while True:
        # A shape made constant fixes shapes downstream, on which further ones depend.
        uses = _computed_uses(rewritten.graph)
        values = _known_values(rewritten)
        known = [use for use in uses if use.tensor in values]
        if not known:
            break
        _make_constant(rewritten.graph, known, values)
        changed += len(known)
    refusals = tuple(_refusal(rewritten.graph, use, values) for use in uses)
    if not changed:
        return PassResult(model, 0, refusals)
    drop_unused_nodes(rewritten.graph)
    return PassResult(rewritten, changed, refusals)


def _computed_uses(graph: onnx.GraphProto) -> list[_ShapeUse]:
    constant = {tensor.name for tensor in graph.initializer}
    constant.update(node.output[0] for node in graph.node if node.op_type == "Constant")
    return [
        _ShapeUse(index, position, node.input[position])
        for index, node in enumerate(graph.node)
        if node.domain in STANDARD_DOMAINS
        for position in _SHAPE_INPUTS.get(node.op_type, ())
        if position < len(node.input) and node.input[position] and node.input[position] not in constant
    ]


def _make_constant(graph: onnx.GraphProto, uses: list[_ShapeUse], values: Mapping[str, NDArray[Any]]) -> None:
    taken = {tensor.name for tensor in graph.initializer}
    for use in uses:
        name = f"{use.tensor}{_SUFFIX}"
        if name not in taken:
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values[use.tensor]), name))
            taken.add(name)
        graph.node[use.node_index].input[use.position] = name


def _known_values(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """Return the value of every small tensor that depends on constants and fixed shapes alone."""
    light = without_large_weights(model, max_elements=_MAX_ELEMENTS)
    shapes = static_shapes(light)
    values = constant_values(model.graph, max_elements=_MAX_ELEMENTS)
    opset = onnx.helper.make_opsetid("", default_opset(model))
    for node in model.graph.node:
        if node.domain in STANDARD_DOMAINS and node.op_type not in _NOT_REPEATABLE:
            values.update(_outputs_of(node, shapes, values, opset))
    return values


def _outputs_of(
    node: onnx.NodeProto,
    shapes: Mapping[str, StaticShape],
    values: Mapping[str, NDArray[Any]],
    opset: onnx.OperatorSetIdProto,
) -> dict[str, NDArray[Any]]:
    if node.op_type in ("Shape", "Size"):
        shape = shapes.get(node.input[0])
        if shape is None:
            return {}
        return {node.output[0]: _shape_of(node, shape)}
    read = list(read_tensors(node))
    if not read or any(name not in values for name in read) or not _is_small(node, shapes):
        return {}
    feed = {name: values[name] for name in read}
    single = onnx.helper.make_graph(
        [node],
        "constant",
        [onnx.helper.make_empty_tensor_value_info(name) for name in feed],
        [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name],
    )
    evaluator = ReferenceEvaluator(onnx.helper.make_model(single, opset_imports=[opset]))
    results = evaluator.run(None, feed)
    return {name: np.asarray(value) for name, value in zip(filter(None, node.output), results, strict=True)}


def _is_small(node: onnx.NodeProto, shapes: Mapping[str, StaticShape]) -> bool:
    return all(int(np.prod(shapes.get(name, ()))) <= _MAX_ELEMENTS for name in node.output)


def _shape_of(node: onnx.NodeProto, shape: StaticShape) -> NDArray[Any]:
    if node.op_type == "Size":
        return np.asarray(np.prod(shape), dtype=np.int64)
    given = attributes(node)
    return np.asarray(shape[given.get("start", 0) : given.get("end")], dtype=np.int64)


def _refusal(graph: onnx.GraphProto, use: _ShapeUse, values: Mapping[str, NDArray[Any]]) -> Refusal:
    node = graph.node[use.node_index]
    reason = f"its shape {use.tensor!r} can change: {_where_data_enters(graph, use.tensor, values)}"
    return Refusal(node_label(node), node.op_type, reason)


def _where_data_enters(graph: onnx.GraphProto, tensor: str, values: Mapping[str, NDArray[Any]]) -> str:
    """Follow the first unknown input upwards from ``tensor``, through shape arithmetic, to what makes it unknown."""
    producers = {name: node for node in graph.node for name in node.output}
    while tensor in producers:
        node = producers[tensor]
        if node.op_type in ("Shape", "Size"):
            return f"{node_label(node)!r} takes the shape of {node.input[0]!r}, which is not fixed"
        unknown = next((name for name in read_tensors(node) if name not in values), None)
        if node.op_type not in _SHAPE_ARITHMETIC or unknown is None:
            return f"it depends on the data through {node_label(node)!r} ({node.op_type})"
        tensor = unknown
    return f"it depends on {tensor!r}, an input of the graph"
