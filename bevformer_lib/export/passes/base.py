"""What every rewrite of the graph returns, and how those that replace single nodes go about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from bevformer_lib.export.graph import (
    STANDARD_DOMAINS,
    StaticShape,
    default_opset,
    drop_unused_nodes,
    node_label,
    stated_shapes,
    without_large_weights,
)

_FLOATS: Final = frozenset({onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16})


@dataclass(frozen=True)
class Refusal:
    """A place that looked like a match and was left as it is.

    Attributes:
        operator: its operator, with the domain where that is not the standard one.
        reason: why the rewrite would not have kept the meaning, or could not be done.
    """

    node: str
    operator: str
    reason: str

    def __str__(self) -> str:
        return f"{self.operator} {self.node!r}: {self.reason}"


@dataclass(frozen=True)
class PassResult:
    """A rewritten graph.

    Attributes:
        model: the result. It is the very object that was passed in when nothing changed, so that a pass without work
            costs no copy of the weights; a pass never modifies its argument.
        changed: number of places rewritten.
        refusals: places that looked like a match and were left alone, with the reason.
    """

    model: onnx.ModelProto
    changed: int
    refusals: tuple[Refusal, ...] = ()


class Editor:
    """A copy of a graph in which nodes are replaced."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._original = model
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.opset = default_opset(model)
        self._constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
        self._taken.update(self._constants)

    @cached_property
    def _inferred(self) -> onnx.GraphProto:
        return onnx.shape_inference.infer_shapes(without_large_weights(self._original), data_prop=True).graph

    @cached_property
    def shapes(self) -> Mapping[str, StaticShape]:
        """The fixed shapes of the graph as it was."""
        return stated_shapes(self._inferred)

    @cached_property
    def _types(self) -> Mapping[str, int]:
        values = (*self._inferred.input, *self._inferred.value_info, *self._inferred.output)
        return {
            **{value.name: value.type.tensor_type.elem_type for value in values},
            **{tensor.name: tensor.data_type for tensor in self._original.graph.initializer},
        }

    @cached_property
    def makers(self) -> Mapping[str, onnx.NodeProto]:
        """Tensor -> the node that computed it."""
        return {name: node for node in self._original.graph.node for name in node.output}

    def shape(self, tensor: str) -> StaticShape:
        """Return a tensor's shape.

        Raises:
            ValueError: it is not fixed.
        """
        if tensor not in self.shapes:
            raise ValueError(f"the shape of {tensor!r} is not fixed")
        return self.shapes[tensor]

    def float_type(self, tensor: str) -> np.dtype[Any]:
        """Return a tensor's type, for the constants that it is computed with.

        Raises:
            ValueError: it is not known, or none of float16, float32 and float64.
        """
        found = self._types.get(tensor)
        if found not in _FLOATS:
            raise ValueError(f"the type of {tensor!r} is not known to be float16, float32 or float64")
        return onnx.helper.tensor_dtype_to_np_dtype(found)

    def value(self, tensor: str) -> NDArray[Any] | None:
        """Return the value of a constant; ``None``: it is computed, or kept in another file."""
        stored = self._constants.get(tensor)
        if stored is None or stored.data_location == onnx.TensorProto.EXTERNAL:
            return None
        return numpy_helper.to_array(stored)

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor is an initializer or the output of a ``Constant``."""
        maker = self.makers.get(tensor)
        return tensor in self._constants or (maker is not None and maker.op_type == "Constant")

    def name(self, stem: str) -> str:
        """Return a tensor name that is not in use, and take it."""
        name, number = stem, 0
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name

    def constant(self, stem: str, value: NDArray[Any]) -> str:
        """Add an initializer and return its name."""
        name = self.name(stem)
        self.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


class InPlaceOf:
    """Nodes that come in place of one: the last computes its output, under its name."""

    def __init__(self, node: onnx.NodeProto, editor: Editor) -> None:
        self._node = node
        self._editor = editor
        self._nodes: list[onnx.NodeProto] = []

    def add(self, operator: str, inputs: Sequence[str], stem: str, **given: Any) -> str:
        """Add a node, named after the one that goes, and return the name of its output."""
        output = self._node.output[0]
        name = self._editor.name(f"{output}_{stem}")
        label = f"{self._node.name or output}/{stem}"
        self._nodes.append(onnx.helper.make_node(operator, inputs, [name], label, **given))
        return name

    def constant(self, stem: str, value: NDArray[Any]) -> str:
        """Add an initializer, named after the output of the one that goes, and return its name."""
        return self._editor.constant(f"{self._node.output[0]}_{stem}", value)

    def nodes(self) -> Sequence[onnx.NodeProto]:
        """Return them all."""
        self._nodes[-1].output[0] = self._node.output[0]
        self._nodes[-1].name = self._node.name
        return self._nodes


Match = Callable[[onnx.NodeProto], bool]
"""Tells whether a node looks like one to replace."""
Replacement = Callable[[onnx.NodeProto, Editor], Sequence[onnx.NodeProto] | None]
"""Gives the nodes in place of one; ``None``: on a closer look there is nothing to do; ``ValueError``: why not."""


def replace_nodes(model: onnx.ModelProto, matches: Match, replacement: Replacement) -> PassResult:
    """Replace nodes one by one.

    Args:
        model: any graph; it is not modified.
        matches: which standard operators are candidates.
        replacement: what comes in a candidate's place, computing its outputs under their names.
    """
    if not any(node.domain in STANDARD_DOMAINS and matches(node) for node in model.graph.node):
        return PassResult(model, 0)
    editor = Editor(model)
    graph = editor.model.graph
    nodes: list[onnx.NodeProto] = []
    refusals: list[Refusal] = []
    changed = 0
    for node in graph.node:
        found = None
        if node.domain in STANDARD_DOMAINS and matches(node):
            try:
                found = replacement(node, editor)
            except ValueError as reason:
                refusals.append(Refusal(node_label(node), node.op_type, str(reason)))
        nodes.extend([node] if found is None else found)
        changed += found is not None
    if not changed:
        return PassResult(model, 0, tuple(refusals))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    drop_unused_nodes(graph)
    return PassResult(editor.model, changed, tuple(refusals))


def set_attributes(node: onnx.NodeProto, *absent: str, **values: Any) -> None:
    """Give a node attributes, in place; those named ``absent`` go."""
    kept = [entry for entry in node.attribute if entry.name not in values and entry.name not in absent]
    written = [*kept, *(onnx.helper.make_attribute(name, value) for name, value in values.items())]
    del node.attribute[:]
    node.attribute.extend(written)
