"""The cost of an ONNX graph as a whole and by operator type."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import onnx

from bevformer_lib.errors import ExportError
from bevformer_lib.export.graph import STANDARD_DOMAINS, graph_inputs
from bevformer_lib.export.lint.facts import GraphFacts, graph_facts, type_name
from bevformer_lib.export.lint.validity import objections
from bevformer_lib.export.macs import count_macs, is_left_out
from bevformer_lib.export.passes import constant_reshape_shapes
from bevformer_lib.profile.memory import ActivationMemory, activation_memory

_QUANTISED_INPUTS: Final[Mapping[str, tuple[int, ...]]] = {
    "ConvInteger": (0, 1),
    "DequantizeLinear": (0,),
    "MatMulInteger": (0, 1),
    "QLinearConv": (0, 3, 8),
    "QLinearMatMul": (0, 3),
    "QuantizeLinear": (0,),
}
"""Operator -> positions of its values; its other inputs are scales and zero points."""


@dataclass(frozen=True)
class OperatorCost:
    """What all nodes of one operator type cost.

    Attributes:
        operator: with its domain where that is not the standard one.
        macs: multiply-accumulate operations, see :func:`bevformer_lib.export.macs.count_macs`.
        output_bytes: what they write.
    """

    operator: str
    nodes: int
    macs: int
    output_bytes: int


@dataclass(frozen=True)
class GraphCost:
    """What a graph costs, whatever runs it.

    Attributes:
        macs: multiply-accumulate operations of one run.
        not_counted: operators of the graph that multiply, or may, but are not in ``macs``.
        parameters: numbers in floating-point constants and in quantised ones, scales and zero points left out.
        parameter_bytes: bytes of all constants, shapes and indices included.
        operators: by operator type, those with the most multiplications first, then those that write most.
        unknown: results whose shapes are not known; what is counted of the others is the least that the graph costs.
    """

    macs: int
    not_counted: tuple[str, ...]
    parameters: int
    parameter_bytes: int
    activations: ActivationMemory
    operators: tuple[OperatorCost, ...]
    unknown: tuple[str, ...] = ()


def graph_cost(model: onnx.ModelProto) -> GraphCost:
    """Return what a graph costs.

    Args:
        model: a graph whose inputs have fixed shapes; weights that it keeps in other files need not be there.

    Raises:
        ExportError: the graph is not valid ONNX, or the shape of an input is not fixed.
    """
    facts = graph_facts(model)
    for objection in objections(model, facts):
        raise ExportError(f"the graph is not valid ONNX ({objection}); `bevformer lint` says what else")
    for value in graph_inputs(model.graph):
        if value.name not in facts.shapes:
            raise ExportError(
                f"the shape of {value.name!r} is not fixed, so its cost is not known; `bevformer lint` says why"
            )
    activations = _activations(model.graph)
    if not facts.shapes.keys() >= set(activations):
        facts = _with_followed_shapes(model, facts)
    sizes = {
        name: math.prod(facts.shapes[name]) * _element_bytes(name, facts.types[name])
        for name in activations
        if name in facts.shapes and name in facts.types
    }
    costs: dict[str, OperatorCost] = {}
    not_counted: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "Constant":
            continue
        operator = node.op_type if node.domain in STANDARD_DOMAINS else f"{node.domain}::{node.op_type}"
        before = costs.get(operator, OperatorCost(operator, 0, 0, 0))
        costs[operator] = OperatorCost(
            operator,
            before.nodes + 1,
            before.macs + (_macs(node, facts) or 0),
            before.output_bytes + sum(sizes.get(name, 0) for name in node.output),
        )
        if is_left_out(node) or _macs(node, facts) is None:
            not_counted.add(operator)
    constants = _constants(model.graph)
    quantised, scales = _quantisers_inputs(model.graph)
    return GraphCost(
        macs=sum(cost.macs for cost in costs.values()),
        not_counted=tuple(sorted(not_counted)),
        parameters=sum(
            math.prod(tensor.dims)
            for name, tensor in constants
            if name in quantised or (_is_floating(tensor.data_type) and name not in scales)
        ),
        parameter_bytes=sum(
            math.prod(tensor.dims) * _element_bytes(name, tensor.data_type) for name, tensor in constants
        ),
        activations=activation_memory(model.graph, sizes),
        operators=tuple(sorted(costs.values(), key=lambda cost: (-cost.macs, -cost.output_bytes, cost.operator))),
        unknown=tuple(name for name in activations if name not in sizes),
    )


def _with_followed_shapes(model: onnx.ModelProto, facts: GraphFacts) -> GraphFacts:
    """Add what follows once the shapes that a raw graph computes are constants."""
    followed = graph_facts(constant_reshape_shapes.apply(model).model)
    return dataclasses.replace(
        facts, shapes={**followed.shapes, **facts.shapes}, types={**followed.types, **facts.types}
    )


def _macs(node: onnx.NodeProto, facts: GraphFacts) -> int | None:
    """Return a node's multiplications; ``None``: a shape that decides them is not known."""
    try:
        return count_macs(node, facts.shapes)
    except KeyError:
        return None


def _activations(graph: onnx.GraphProto) -> list[str]:
    results = [name for node in graph.node if node.op_type != "Constant" for name in node.output if name]
    return [*(value.name for value in graph_inputs(graph)), *results]


def _constants(graph: onnx.GraphProto) -> list[tuple[str, onnx.TensorProto]]:
    inside_nodes = [
        (node.output[0], entry.t)
        for node in graph.node
        if node.op_type == "Constant"
        for entry in node.attribute
        if entry.HasField("t")
    ]
    return [*((tensor.name, tensor) for tensor in graph.initializer), *inside_nodes]


def _quantisers_inputs(graph: onnx.GraphProto) -> tuple[set[str], set[str]]:
    """Return the names of what is quantised, and of the scales and zero points that go with it."""
    values: set[str] = set()
    scales: set[str] = set()
    for node in graph.node:
        positions = _QUANTISED_INPUTS.get(node.op_type)
        if positions is not None:
            for position, name in enumerate(node.input):
                (values if position in positions else scales).add(name)
    return values, scales


def _element_bytes(name: str, data_type: int) -> int:
    try:
        return onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize
    except KeyError:
        raise ExportError(f"{name!r} is of {type_name(data_type)}, whose size is not known") from None


def _is_floating(data_type: int) -> bool:
    return data_type in (
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
        onnx.TensorProto.DOUBLE,
    )
