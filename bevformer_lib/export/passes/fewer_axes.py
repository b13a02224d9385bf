"""Tensors of six axes and more become ones of five at most: axes that an operator treats alike are folded into one.

before::

    y = Reshape(x, [1, 40000, 8, 1, 8, 2])      # 1, cells, heads, levels, points, xy
    z = Add(y, offsets)                         # offsets: (1, 40000, 1, 1, 1, 2)
    s = Transpose(z, perm=[0, 2, 1, 3, 4, 5])

after::

    y = Reshape(x, [40000, 64, 2])
    z = Add(y, offsets')                        # offsets': (40000, 1, 2)
    z' = Reshape(z, [40000, 8, 16])
    s' = Transpose(z', perm=[1, 0, 2])

A tensor of many axes is kept as one of few with the same values in the same order, and is only given all its axes where
a node reads it that can't be folded; that one is refused, with the reason. Axes of size 1 cost nothing. Inputs and
outputs of the graph stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx

from bevformer_lib.export.graph import (
    STANDARD_DOMAINS,
    StaticShape,
    drop_unused_nodes,
    node_label,
    read_tensors,
    static_shapes,
    without_large_weights,
)
from bevformer_lib.export.passes.axis_groups import ELEMENT_WISE, MAX_AXES, RULES, Folded
from bevformer_lib.export.passes.base import Editor, PassResult, Refusal

_SAME_ORDER: Final = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators that give the values of their first input in the same order."""


def apply(model: onnx.ModelProto) -> PassResult:
    """Fold axes until no tensor has more than five."""
    shapes = static_shapes(without_large_weights(model))
    if all(len(shape) <= MAX_AXES for shape in shapes.values()):
        return PassResult(model, 0)
    editor = Editor(model)
    folding = _Folding(editor)
    for node in model.graph.node:
        folding.take(node)
    for value in model.graph.output:
        folding.give_axes_back(value.name)
    if not folding.changed:
        return PassResult(model, 0, tuple(folding.refusals))
    graph = editor.model.graph
    del graph.node[:]
    graph.node.extend(folding.nodes)
    for index in reversed(range(len(graph.value_info))):
        if graph.value_info[index].name in folding.few:
            del graph.value_info[index]
    drop_unused_nodes(graph)
    return PassResult(editor.model, folding.changed, tuple(folding.refusals))


class _Folding:
    """Goes through the nodes in order and writes the folded ones."""

    def __init__(self, editor: Editor) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.refusals: list[Refusal] = []
        self.changed = 0
        self.few: dict[str, str] = {}
        """Tensor of many axes -> the one of few that has its values."""
        self._editor = editor
        self._shapes = dict(editor.shapes)
        self._reshaped: dict[tuple[str, StaticShape], str] = {}
        self._given_back: set[str] = set()

    def take(self, node: onnx.NodeProto) -> None:
        """Write a node, folded where it has to do with tensors of many axes."""
        tensors = [name for name in (*node.input, *node.output) if name]
        if any(len(self._shapes.get(name, ())) > MAX_AXES for name in tensors):
            try:
                self._fold(node)
            except ValueError as reason:
                self.refusals.append(Refusal(node_label(node), node.op_type, str(reason)))
            else:
                self.changed += 1
                return
        for name in read_tensors(node):
            self.give_axes_back(name)
        self._write(node)

    def give_axes_back(self, tensor: str) -> None:
        """Write the node that makes a tensor of many axes of the one of few, for those that can't do without."""
        if tensor in self.few and tensor not in self._given_back:
            self._given_back.add(tensor)
            self._reshape(self.few[tensor], self._shapes[tensor], tensor)

    def _fold(self, node: onnx.NodeProto) -> None:
        if node.domain not in STANDARD_DOMAINS:
            raise ValueError("it is no standard operator")
        if node.op_type == "Constant":
            raise ValueError("it is a constant")
        outputs = [self._shape(name) if name else () for name in node.output]
        if node.op_type in _SAME_ORDER:
            self._keep_order(node.input[0], node.output[0])
            return
        if node.op_type not in RULES:
            raise ValueError(f"nothing is known of folding the axes of {node.op_type}")
        inputs = [self._shape(name) if name else () for name in node.input]
        folded = self._as_it_is(node, inputs, outputs) or RULES[node.op_type](node, inputs, self._editor)
        if folded is None:  # axes of size 1 change places
            self._keep_order(node.input[0], node.output[0])
            return
        self._write_folded(node, folded, outputs)

    def _as_it_is(
        self, node: onnx.NodeProto, inputs: Sequence[StaticShape], outputs: Sequence[StaticShape]
    ) -> Folded | None:
        """Return how a node works value by value on what is folded already; ``None``: there is more to it."""
        wide = [name for name, shape in zip(node.input, inputs, strict=True) if shape]
        if node.op_type not in ELEMENT_WISE or not all(name in self.few for name in wide):
            return None
        shapes = {self._shape(self.few[name]) for name in wide}
        if len(shapes) != 1 or {shape for shape in inputs if shape} != set(outputs):
            return None
        [few] = shapes
        return Folded([few if shape else None for shape in inputs], [few])

    def _shape(self, tensor: str) -> StaticShape:
        return self._shapes[tensor] if tensor in self._shapes else self._editor.shape(tensor)

    def _keep_order(self, source: str, output: str) -> None:
        source = self.few.get(source, source)
        shape = self._shape(output)
        if len(shape) <= MAX_AXES:
            self._reshape(source, shape, output)
        elif len(self._shape(source)) <= MAX_AXES:
            self.few[output] = source
        else:  # an input of the graph, or a constant
            self.few[output] = self._with_shape(source, _without_ones(shape))

    def _write_folded(self, node: onnx.NodeProto, folded: Folded, outputs: Sequence[StaticShape]) -> None:
        if any(len(shape) > MAX_AXES for shape in (*folded.inputs, *folded.outputs) if shape is not None):
            raise ValueError(f"more than {MAX_AXES} axes remain that it treats differently")
        written = onnx.NodeProto()
        written.CopyFrom(node)
        names = [
            name if shape is None else self._with_shape(name, shape)
            for name, shape in zip(node.input, folded.inputs, strict=True)
        ]
        written.input[:] = [folded.constants.get(place, name) for place, name in enumerate(names)]
        for name in folded.attributes:
            kept = [entry for entry in written.attribute if entry.name != name]
            del written.attribute[:]
            written.attribute.extend(kept)
        written.attribute.extend(onnx.helper.make_attribute(*item) for item in folded.attributes.items())
        back: list[tuple[str, str, StaticShape]] = []
        for place, (name, few, shape) in enumerate(zip(node.output, folded.outputs, outputs, strict=True)):
            if few is None or few == shape:
                continue
            if len(shape) > MAX_AXES:
                written.output[place] = self._few(name, few)
            else:
                written.output[place] = self._editor.name(f"{name}_folded")
                self._shapes[written.output[place]] = few
                back.append((written.output[place], name, shape))
        self._write(written)
        for source, name, shape in back:
            self._reshape(source, shape, name)

    def _few(self, tensor: str, shape: StaticShape) -> str:
        self.few[tensor] = self._editor.name(f"{tensor}_folded")
        self._shapes[self.few[tensor]] = shape
        return self.few[tensor]

    def _with_shape(self, tensor: str, shape: StaticShape) -> str:
        """Return a tensor's values in another shape."""
        source = self.few.get(tensor, tensor)
        if self._shape(source) == shape:
            return source
        if (source, shape) not in self._reshaped:
            value = self._editor.value(source)
            if value is not None:
                name = self._editor.constant(f"{source}_folded", value.reshape(shape))
            else:
                name = self._editor.name(f"{source}_folded")
                self._reshape(source, shape, name)
            self._shapes[name] = shape
            self._reshaped[source, shape] = name
        return self._reshaped[source, shape]

    def _reshape(self, source: str, shape: StaticShape, output: str) -> None:
        sizes = self._editor.constant(f"{output}_shape", np.asarray(shape, np.int64))
        self._write(onnx.helper.make_node("Reshape", [source, sizes], [output], f"{output}_reshape"))

    def _write(self, node: onnx.NodeProto) -> None:
        self.nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))


def _without_ones(shape: StaticShape) -> StaticShape:
    sizes = [size for size in shape if size != 1]
    return (math.prod(sizes[:-4]), *sizes[-4:]) if len(sizes) > MAX_AXES else tuple(sizes) or (1,)
