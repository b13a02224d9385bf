"""Channels that can be scaled together: what makes them, what passes them on, and what takes the scale back.

before::

    a = Relu(Conv(x, w, b)),  y = Conv(a, v)

after::

    a' = Relu(Conv(x, w / s, b / s)),  y = Conv(a', v * s)          # s > 0 by channel: a' = a / s

A group begins at an operator whose outputs can be scaled by channel: Conv, Gemm and MatMul with constant weights,
LayerNormalization. It grows through operators that give scaled outputs for scaled inputs, both ways: an Add
has another operand, which must be scaled too. It ends at products with constant weights, whose rows take the scale
back. Where anything else reads one of its tensors, the residual connection before a LayerNormalization say, there is
no group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from bevformer_lib.export.graph import StaticShape, attributes, read_tensors, static_shapes
from bevformer_lib.ptq.channel_layout import (
    ELEMENTWISE,
    RESHAPING,
    SPATIAL,
    WITHIN_AXES,
    Layout,
    aligned,
    channels_of,
    free,
    layout_of,
    moved,
    only_axis,
    with_free_axes,
)

_WEIGHTED: Final = frozenset({"Conv", "Gemm", "MatMul"})
_MOVING: Final = ELEMENTWISE | RESHAPING | SPATIAL | WITHIN_AXES | {"Transpose"}
_JOINING: Final = frozenset({"Add", "Sub", "Where", "Concat"})


class _NoGroupError(Exception):
    """A tensor is read or made by something that no scale passes."""


@dataclass(frozen=True)
class Consumer:
    """A product that takes the scale back.

    Attributes:
        node: Conv, Gemm or MatMul.
        data: what it reads.
        axis: of the weight's input channels.
        channels: channel of every input.
    """

    node: onnx.NodeProto
    data: str
    weight: str
    axis: int
    channels: NDArray[np.int64]


@dataclass
class ChannelGroup:
    """Tensors whose channels can be scaled together.

    Attributes:
        layouts: tensor -> where its channels lie.
        makers: nodes whose weights give the scale, and the channel of every output.
        constants: nodes that add or join a constant, its name, and its layout.
        consumers: products that take it back.
    """

    size: int
    layouts: dict[str, Layout] = field(default_factory=dict)
    makers: list[tuple[onnx.NodeProto, NDArray[np.int64]]] = field(default_factory=list)
    constants: list[tuple[onnx.NodeProto, str, Layout]] = field(default_factory=list)
    consumers: list[Consumer] = field(default_factory=list)


def find_groups(model: onnx.ModelProto) -> list[ChannelGroup]:
    """Return the groups of a graph with static shapes, in graph order."""
    return list(_Search(model).groups())


class _Search:
    """The search for the groups of a graph, one after the other."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self._nodes = list(graph.node)
        self._shapes: Mapping[str, StaticShape] = static_shapes(model)
        self._weights = {one.name: one for one in graph.initializer if one.data_type == TensorProto.FLOAT}
        self._axes = {
            one.name: numpy_helper.to_array(one).astype(np.int64)
            for one in graph.initializer
            if one.data_type == TensorProto.INT64 and int(np.prod(one.dims)) <= 16
        }
        self._known = {one.name for one in graph.initializer}
        self._outputs = {value.name for value in graph.output}
        self._makers = {name: node for node in self._nodes for name in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self._nodes:
            for name in dict.fromkeys(read_tensors(node)):
                self._readers.setdefault(name, []).append(node)

    def groups(self) -> Iterator[ChannelGroup]:
        """Yield the groups in graph order."""
        seen: set[str] = set()
        for node in self._nodes:
            if not self._is_maker(node) or node.output[0] in seen or node.output[0] not in self._shapes:
                continue
            shape = self._shapes[node.output[0]]
            axis = 1 if node.op_type == "Conv" else len(shape) - 1
            group = self._grown(node.output[0], layout_of(shape, axis), shape[axis])
            if group is not None:
                seen.update(group.layouts)
                yield group

    def _grown(self, tensor: str, layout: Layout, size: int) -> ChannelGroup | None:
        self._group = ChannelGroup(size)
        self._waiting: list[str] = []
        try:
            self._take(tensor, layout)
            while self._waiting:
                name = self._waiting.pop()
                self._go_back(name)
                for reader in self._readers.get(name, ()):
                    self._go_on(reader, name)
        except _NoGroupError:
            return None
        return self._group if self._group.consumers else None

    def _take(self, tensor: str, layout: Layout | None) -> None:
        """Add a tensor to the group."""
        known = self._group.layouts.get(tensor)
        if layout is None or tensor in self._outputs or tensor in self._known or all(map(free, layout)):
            raise _NoGroupError
        if known is None:
            self._group.layouts[tensor] = layout
            self._waiting.append(tensor)
        elif known != layout:
            raise _NoGroupError

    def _shape(self, tensor: str) -> StaticShape:
        if tensor not in self._shapes:
            raise _NoGroupError
        return self._shapes[tensor]

    def _is_maker(self, node: onnx.NodeProto) -> bool:
        if node.op_type == "LayerNormalization":
            whole = attributes(node).get("axis", -1) in (-1, len(self._shapes.get(node.input[0], ())) - 1)
            return whole and len(node.output) == 1 and all(name in self._weights for name in node.input[1:])
        if node.op_type not in _WEIGHTED or node.input[0] in self._known:
            return False
        given = attributes(node)
        plain = given.get("transA", 0) == 0 and given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0
        two = node.op_type == "Conv" or len(self._shapes.get(node.input[1], ())) == 2
        return plain and two and all(name in self._weights for name in node.input[1:])

    def _go_back(self, tensor: str) -> None:
        """Deal with what makes a tensor of the group."""
        node, layout = self._makers.get(tensor), self._group.layouts[tensor]
        if node is None:
            raise _NoGroupError
        if self._is_maker(node):
            axis = 1 if node.op_type == "Conv" else len(layout) - 1
            if not only_axis(layout, axis):
                raise _NoGroupError
            self._group.makers.append((node, channels_of(layout[axis])))
        elif node.op_type in _MOVING:
            self._take(node.input[0], moved(node, layout, self._shape(node.input[0]), self._axes, backward=True))
            self._beside(node)
        elif node.op_type in _JOINING:
            self._operands(node, layout)
        elif node.op_type == "Mul":
            spread = [(name, aligned(layout, self._shape(name))) for name in node.input if name not in self._known]
            able = [(name, found) for name, found in spread if found is not None]
            if len(able) == 1:
                self._take(*able[0])
            elif not any(name in self._group.layouts for name, _ in able):
                raise _NoGroupError
        elif node.op_type == "MatMul" and all(name not in self._known for name in node.input):
            if not any(name in self._group.layouts for name in node.input):
                raise _NoGroupError
        else:
            raise _NoGroupError

    def _go_on(self, node: onnx.NodeProto, tensor: str) -> None:
        """Deal with a node that reads a tensor of the group."""
        layout = self._group.layouts[tensor]
        if node.op_type in _WEIGHTED and self._is_consumer(node, tensor):
            axis = 1 if node.op_type == "Conv" else len(layout) - 1
            if not only_axis(layout, axis):
                raise _NoGroupError
            transposed = node.op_type == "Gemm" and attributes(node).get("transB", 0)
            of_weight = 1 if node.op_type == "Conv" or transposed else 0
            self._group.consumers.append(Consumer(node, tensor, node.input[1], of_weight, channels_of(layout[axis])))
        elif node.op_type in _MOVING and node.input[0] == tensor and list(node.input).count(tensor) == 1:
            for name in filter(None, node.output):
                self._take(name, moved(node, layout, self._shape(name), self._axes))
            self._beside(node)
        elif node.op_type in _JOINING:
            self._take(node.output[0], self._joined(node, tensor, layout))
        elif node.op_type == "Mul" and list(node.input).count(tensor) == 1:
            [other] = [name for name in node.input if name != tensor]
            if other in self._group.layouts or self._shape(node.output[0]) != self._shape(tensor):
                raise _NoGroupError
            self._take(node.output[0], layout)
        elif node.op_type == "MatMul":
            self._take(node.output[0], self._product(node, tensor, layout))
        else:
            raise _NoGroupError

    def _is_consumer(self, node: onnx.NodeProto, tensor: str) -> bool:
        one_group = attributes(node).get("group", 1) == 1 and attributes(node).get("transA", 0) == 0
        two = node.op_type == "Conv" or len(self._shapes.get(node.input[1], ())) == 2
        return one_group and two and node.input[0] == tensor and node.input[1] in self._weights

    def _beside(self, node: onnx.NodeProto) -> None:
        """Refuse a moving operator that adds something of its own."""
        if node.op_type == "Pad" and (
            attributes(node).get("mode", "constant") != "constant" or not self._pads_zero(node)
        ):
            raise _NoGroupError
        if any(name in self._group.layouts for name in node.input[1:]):
            raise _NoGroupError

    def _pads_zero(self, node: onnx.NodeProto) -> bool:
        if len(node.input) < 3 or not node.input[2]:
            return True
        return node.input[2] in self._weights and not numpy_helper.to_array(self._weights[node.input[2]]).any()

    def _joined(self, node: onnx.NodeProto, tensor: str, layout: Layout) -> Layout | None:
        """Return the layout of what several operands make."""
        shape = self._shape(node.output[0])
        if node.op_type == "Concat":
            return with_free_axes(layout, shape, [attributes(node)["axis"] % len(shape)])
        is_data = node.op_type != "Where" or node.input[0] != tensor
        return layout if is_data and self._shape(tensor) == shape else None

    def _operands(self, node: onnx.NodeProto, layout: Layout) -> None:
        """Take every operand of an operator that joins them."""
        for name in node.input[1:] if node.op_type == "Where" else node.input:
            shape = self._shape(name)
            if node.op_type == "Concat":
                wanted = with_free_axes(layout, shape, [attributes(node)["axis"] % len(shape)])
            else:
                wanted = aligned(layout, shape)
            if name in self._weights and wanted is not None:
                self._group.constants.append((node, name, wanted))
            else:
                self._take(name, wanted)

    def _product(self, node: onnx.NodeProto, tensor: str, layout: Layout) -> Layout | None:
        """Return the layout of a product of two computed tensors of which one belongs to the group."""
        shape, operands = self._shape(node.output[0]), list(node.input)
        other = operands[1 - operands.index(tensor)]
        if other in self._group.layouts or other in self._known or self._shape(tensor)[:-2] != shape[:-2]:
            return None
        return with_free_axes(layout, shape, [len(shape) - (1 if operands[0] == tensor else 2)])
