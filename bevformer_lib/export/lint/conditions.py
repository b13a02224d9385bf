"""What has to be true of a node for an observation to concern it, one function each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from bevformer_lib.export.graph import attributes, constant_values
from bevformer_lib.export.lint.facts import GraphFacts

OCM_BYTES: Final = 3_141_632
"""On-chip memory that one job of AX650's NPU may use, as its compiler states it."""
GATHER_LANE: Final = 4096
"""Most values of a row that a job of Gather holds at once."""
GATHER_LEAST_LANE: Final = 16
"""Fewest values per index that a job of Gather holds along the last axis."""
_FLOAT_BYTES: Final = 4
_INDEX_BYTES: Final = 4
_MATRIX_RANK: Final = 2


@dataclass(frozen=True)
class Surroundings:
    """A graph, with what conditions ask of it found once."""

    graph: onnx.GraphProto
    facts: GraphFacts

    @cached_property
    def readers(self) -> Mapping[str, list[onnx.NodeProto]]:
        """Tensor -> the nodes that read it."""
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def makers(self) -> Mapping[str, onnx.NodeProto]:
        """Tensor -> the node that computes it."""
        return {name: node for node in self.graph.node for name in node.output}

    @cached_property
    def outputs(self) -> frozenset[str]:
        """Names of the graph's outputs."""
        return frozenset(value.name for value in self.graph.output)

    @cached_property
    def has_several_nodes(self) -> bool:
        """Whether more than one node computes something."""
        return len([node for node in self.graph.node if node.op_type != "Constant"]) > 1

    @cached_property
    def scalars(self) -> Mapping[str, NDArray[Any]]:
        """Constants of one value; those kept in other files are none."""
        light = onnx.GraphProto()
        light.node.extend(node for node in self.graph.node if node.op_type == "Constant")
        light.initializer.extend(
            tensor for tensor in self.graph.initializer if tensor.data_location != onnx.TensorProto.EXTERNAL
        )
        return constant_values(light, max_elements=1)

    def live(self, names: Iterable[str]) -> list[str]:
        """Return the tensors that are no constants."""
        return [name for name in names if name and name not in self.facts.constants]


Condition = Callable[[onnx.NodeProto, Surroundings], str | None]
"""Says how an observation concerns a node; ``None``: it does not."""


def always(node: onnx.NodeProto, around: Surroundings) -> str | None:
    """Whatever the node looks like."""
    return "whatever its attributes"


def the_only_node(node: onnx.NodeProto, around: Surroundings) -> str | None:
    """Nothing else is computed."""
    return None if around.has_several_nodes else "it is the only node"


def beside_others_without_a_relu_behind(node: onnx.NodeProto, around: Surroundings) -> str | None:
    """In a graph with other nodes, and not read by one Relu alone, with which it was seen to compile."""
    readers = around.readers.get(node.output[0], []) if node.output else []
    joined = [reader.op_type for reader in readers] == ["Relu"] and node.output[0] not in around.outputs
    return None if joined or not around.has_several_nodes else "it is one of several nodes"


def all_attributes_default(node: onnx.NodeProto, around: Surroundings) -> str | None:
    """Strides, dilations and groups of one, and no padding: the minimal ConvTranspose."""
    ones = ("strides", "dilations", "group")
    zeros = ("pads", "output_padding")
    given = attributes(node)
    plain = all(np.all(np.asarray(given.get(name, 1)) == 1) for name in ones) and not any(
        np.any(np.asarray(given.get(name, 0))) for name in zeros
    )
    return "all its attributes have their default values" if plain and "output_shape" not in given else None


def without_axes(node: onnx.NodeProto, around: Surroundings) -> str | None:
    """A reduction of all axes that names none."""
    given = attributes(node)
    listed = node.input[1] if len(node.input) > 1 else ""
    named = given.get("axes") or (listed and around.facts.shapes.get(listed) != (0,))
    if named or given.get("noop_with_empty_axes", 0):
        return None
    rank = around.facts.ranks.get(node.input[0])
    return None if rank in (0, 1) else "it names no axes"  # of one axis, the last are all


def of_one_axis(node: onnx.NodeProto, around: Surroundings) -> str | None:
    """A computed result with one axis."""
    return (
        "its result has one axis"
        if any(around.facts.ranks.get(name) == 1 for name in around.live(node.output))
        else None
    )


def of_no_axes(node: onnx.NodeProto, around: Surroundings) -> str | None:
    """A computed float result without axes."""
    names = [name for name in around.live(node.output) if around.facts.types.get(name) == onnx.TensorProto.FLOAT]
    return "its result has no axes" if any(around.facts.ranks.get(name) == 0 for name in names) else None


def leaving_out(*names: str) -> Condition:
    """An optional attribute that is left to its default."""

    def condition(node: onnx.NodeProto, around: Surroundings) -> str | None:
        absent = [name for name in names if name not in attributes(node)]
        return f"{' and '.join(absent)} is left out" if absent else None

    return condition


def behind_a_live_product(node: onnx.NodeProto, around: Surroundings) -> str | None:
    """A constant of one axis added to a product of two computed tensors."""
    for bias, product in (tuple(node.input), tuple(node.input)[::-1]):
        maker = around.makers.get(product)
        if (
            bias in around.facts.constants
            and around.facts.ranks.get(bias) == 1
            and maker is not None
            and maker.op_type == "MatMul"
            and len(around.live(maker.input)) == len(maker.input)
            and around.facts.ranks.get(product, 0) >= _MATRIX_RANK
        ):
            return f"its bias {bias!r} has one axis, and {product!r} is a product of two computed tensors"
    return None


def computed_weight(node: onnx.NodeProto, around: Surroundings) -> str | None:
    """A weight that is computed, not constant."""
    weight = node.input[1] if len(node.input) > 1 else ""
    return f"its weight {weight!r} is computed" if around.live([weight]) else None


def one_that_does_nothing(node: onnx.NodeProto, around: Surroundings) -> str | None:
    """A factor or divisor of one in front of a graph output."""
    factors = node.input if node.op_type == "Mul" else node.input[1:]
    ones = [name for name in factors if name in around.scalars and around.scalars[name].reshape(()) == 1]
    return f"{ones[0]!r} is 1, and the result is an output" if ones and node.output[0] in around.outputs else None


def dilated_and_padded_on_one_side(node: onnx.NodeProto, around: Surroundings) -> str | None:
    """Another padding before than behind, with a dilation."""
    given = attributes(node)
    pads = given.get("pads", [])
    half = len(pads) // 2
    lopsided = pads[:half] != pads[half:] and max(given.get("dilations", []), default=1) > 1
    return f"pads {pads} differ before and behind, with dilations {given['dilations']}" if lopsided else None


def many_axes_along_the_last(node: onnx.NodeProto, around: Surroundings) -> str | None:
    """A table of three axes and more that is read along its last one, and not too large."""
    rank = around.facts.ranks.get(node.input[0], 0)
    if rank <= _MATRIX_RANK or attributes(node).get("axis", 0) not in (-1, rank - 1) or large_table(node, around):
        return None
    return f"its table {node.input[0]!r} has {rank} axes and is read along the last"


def large_table(node: onnx.NodeProto, around: Surroundings) -> str | None:
    """A table of three axes and more that is not read along its last one, or one too large for a job on the chip."""
    shape = around.facts.shapes.get(node.input[0])
    rank = around.facts.ranks.get(node.input[0])
    axis = attributes(node).get("axis", 0)
    if rank is None or not -rank <= axis < rank:
        return None
    last = axis in (-1, rank - 1)
    if rank > _MATRIX_RANK and not last:
        return f"its table {node.input[0]!r} has {rank} axes"
    if shape is None:
        return None
    indices = math.prod(around.facts.shapes.get(node.input[1], (1,)))
    rows, row = shape[axis], math.prod(shape) // max(shape[axis], 1)
    # Along the last axis the job can be cut down to few values per index, of a byte each; rows were seen in float.
    value_bytes = 1 if last and rank > 1 else _FLOAT_BYTES
    lane = GATHER_LEAST_LANE if value_bytes == 1 else min(row, GATHER_LANE)
    needed = (rows + indices) * lane * value_bytes + indices * _INDEX_BYTES
    return (
        f"source, indices and result take {needed:,} bytes at once, {OCM_BYTES:,} are there"
        if (needed > OCM_BYTES)
        else None
    )
