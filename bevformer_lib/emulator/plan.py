"""Which tensor is rounded how: the rules by which the converter gives formats, scales and zero points.

Every layer rounds its output to its format. A layer that reads a tensor in a coarser format than it was made in, or a
MatMul of two live tensors that reads a tensor which others read too, rounds it a second time for itself. A movement
operator gives its output the scale of its input, over the union of both ranges, and rounds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx

from bevformer_lib.emulator.formats import (
    FP32,
    SIGNED_OF,
    U8,
    Quantization,
    bits_of,
    coarsest,
    quantization_of_range,
)
from bevformer_lib.emulator.fusion import Layer
from bevformer_lib.emulator.operators import JOINING, MOVEMENT, WEIGHTED, data_slots
from bevformer_lib.emulator.prepare import Prepared
from bevformer_lib.emulator.requests import LayerTypes

Ranges = Mapping[str, tuple[float, float]]
Reading = tuple[str, int]
"""A node, by its first output, and the place of one of its inputs."""


@dataclass(frozen=True)
class Plan:
    """The rounding of a whole graph.

    Attributes:
        outputs: tensor -> how it is rounded where it is made; those that are not there are not rounded.
        readings: (node, place of the input) -> how that node rounds the tensor for itself.
        shared: tensor -> quantisation that it has without being rounded again: outputs of movement operators and Neg.
        formats: tensor -> format of its numbers.
    """

    outputs: Mapping[str, Quantization]
    readings: Mapping[Reading, Quantization]
    shared: Mapping[str, Quantization]
    formats: Mapping[str, str]


@dataclass
class _Scale:
    """A scale that several tensors share."""

    format: str
    low: float = 0.0
    high: float = 0.0
    mirror_of: _Scale | None = None
    tensors: list[str] = field(default_factory=list)

    def hold(self, tensor: str, ranges: Ranges) -> None:
        low, high = ranges[tensor]
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.tensors.append(tensor)

    def quantization(self) -> Quantization:
        if self.mirror_of is not None:
            return self.mirror_of.quantization().mirrored()
        return quantization_of_range(self.format, self.low, self.high)


class Planner:
    """Gives every tensor of a graph its format and scale."""

    def __init__(
        self,
        prepared: Prepared,
        layers: Sequence[Layer],
        types: Mapping[str, LayerTypes],
        ranges: Ranges,
        *,
        round_movement: bool,
        grid: str,
    ) -> None:
        """Take what is known of the graph.

        Args:
            prepared: the graph.
            layers: its layers.
            types: their formats, by first output.
            ranges: tensor -> smallest and largest value.
            round_movement: whether movement operators, Concat and Where among them, share scales and round; without,
                they pass on what they read as it is.
            grid: format of tensors that only GridSample reads, as its grid; those that others read too are made in the
                format of their layer, and no finer for it.
        """
        self._prepared = prepared
        self._layers = layers
        self._types = types
        self._ranges = ranges
        self._round_movement = round_movement
        self._grid = grid
        self._passing = MOVEMENT | (JOINING if not round_movement else frozenset())
        self._outputs = {value.name for value in prepared.model.graph.output}
        self._readers = self._find_readers()
        self._read_by: dict[tuple[str, str], bool] = {}
        self._made_by: dict[str, _Scale] = {}
        self._formats: dict[str, str] = {}
        self._rounded: dict[str, _Scale] = {}
        self._readings: dict[Reading, Quantization] = {}

    def plan(self) -> Plan:
        """Return the rounding of the graph."""
        for value in self._prepared.model.graph.input:
            if self._prepared.is_live(value.name):
                asked = [self._asked(layer, node, slot) for layer, node, slot in self._readers.get(value.name, ())]
                self._round(value.name, max(asked, key=bits_of, default=U8))
        for layer in self._layers:
            self._place(layer)
        for layer in self._layers:
            self._read(layer)
        shared = {
            tensor: scale.quantization() for tensor, scale in self._made_by.items() if tensor not in self._rounded
        }
        return Plan(
            {tensor: scale.quantization() for tensor, scale in self._rounded.items()},
            self._readings,
            shared,
            self._formats,
        )

    def _find_readers(self) -> dict[str, list[tuple[Layer, onnx.NodeProto, int]]]:
        readers: dict[str, list[tuple[Layer, onnx.NodeProto, int]]] = {}
        for layer in self._layers:
            inner = {name for node in layer.nodes for name in node.output}
            for node in layer.nodes:
                for slot, name in enumerate(node.input):
                    if name and name not in inner:
                        readers.setdefault(name, []).append((layer, node, slot))
        return readers

    def is_live_product(self, node: onnx.NodeProto) -> bool:
        """Tell whether a node multiplies two live tensors."""
        return node.op_type in WEIGHTED and all(self._prepared.is_live(name) for name in node.input[:2])

    def _asked(self, layer: Layer, node: onnx.NodeProto, slot: int) -> str:
        """Return the format in which a node is asked to read one of its inputs."""
        asked = self._types[layer.outputs[0]].data
        return self._grid if _is_grid(layer, node, slot) and bits_of(self._grid) > bits_of(asked) else asked

    def _wanted(self, layer: Layer, node: onnx.NodeProto, slot: int) -> str:
        """Return the format in which a node reads one of its inputs."""
        asked = self._asked(layer, node, slot)
        return SIGNED_OF[asked] if self.is_live_product(node) and slot < 2 else asked

    def _signed_for(self, asked: str, tensor: str) -> str:
        """Return the format of a tensor that is asked for in ``asked``.

        It is signed where only MatMuls of two live tensors, of as many bits, read it, directly or behind movement
        operators.
        """

        def is_operand(layer: Layer, node: onnx.NodeProto, slot: int) -> bool:
            same = bits_of(self._types[layer.outputs[0]].data) == bits_of(asked)
            return same and slot < 2 and self.is_live_product(node)

        return SIGNED_OF[asked] if self._only_read_by(f"products in {bits_of(asked)}", is_operand, tensor) else asked

    def _only_read_by(self, what: str, is_place: Callable[[Layer, onnx.NodeProto, int], bool], tensor: str) -> bool:
        key = (what, tensor)
        if key not in self._read_by:
            readers = self._readers.get(tensor, [])
            self._read_by[key] = (
                tensor not in self._outputs
                and bool(readers)
                and all(
                    is_place(layer, node, slot)
                    or (
                        node.op_type in self._passing
                        and layer.main is node
                        and all(self._only_read_by(what, is_place, name) for name in layer.outputs)
                    )
                    for layer, node, slot in readers
                )
            )
        return self._read_by[key]

    def _round(self, tensor: str, asked: str) -> None:
        """Give a computed tensor a scale of its own."""
        if bits_of(self._grid) > bits_of(asked) and self._only_read_by("grids", _is_grid, tensor):
            asked = self._grid
        wanted = self._signed_for(asked, tensor)
        self._formats[tensor] = wanted
        if wanted == FP32:
            return
        scale = _Scale(wanted)
        scale.hold(tensor, self._ranges)
        self._made_by[tensor] = self._rounded[tensor] = scale

    def _place(self, layer: Layer) -> None:
        """Give the outputs of a layer their scales."""
        main, types = layer.main, self._types[layer.outputs[0]]
        source = main.input[0] if len(main.input) else ""
        for tensor in layer.outputs:
            if not self._prepared.is_live(tensor):
                continue
            if main.op_type in self._passing and len(layer.nodes) == 1 and not _pads_with_values(main, self._prepared):
                self._pass_on(main, tensor, types)
            elif main.op_type == "Neg" and self._made_by.get(source) is not None and types.output == types.data == U8:
                self._formats[tensor] = self._formats[source]
                self._made_by[tensor] = _Scale(self._formats[source], mirror_of=self._made_by[source])
            else:
                self._round(tensor, types.output)

    def _pass_on(self, node: onnx.NodeProto, tensor: str, types: LayerTypes) -> None:
        sources = [node.input[slot] for slot in data_slots(node) if self._prepared.is_live(node.input[slot])]
        if not sources:
            self._round(tensor, types.output)
            return
        read = coarsest(*[self._formats[name] for name in sources])
        if not self._round_movement:
            self._formats[tensor] = read
            return
        asked = coarsest(types.data, types.output)
        if bits_of(self._grid) > bits_of(asked) and self._only_read_by("grids", _is_grid, tensor):
            asked = self._grid
        wanted = self._signed_for(asked, tensor)
        scale = self._made_by.get(sources[0])
        if scale is None or (wanted != scale.format and bits_of(wanted) <= bits_of(scale.format)):
            if scale is None and wanted == FP32:
                self._formats[tensor] = FP32
            else:
                self._round(tensor, asked)
            return
        self._formats[tensor] = scale.format
        self._made_by[tensor] = scale
        if scale.mirror_of is None:
            scale.hold(tensor, self._ranges)

    def _read(self, layer: Layer) -> None:
        """Find the inputs that a layer must round for itself."""
        inner = {name for node in layer.nodes for name in node.output}
        for node in layer.nodes:
            if node.op_type in self._passing and len(layer.nodes) == 1:
                continue  # rounded behind it, where it has to be
            for slot in data_slots(node):
                tensor = node.input[slot]
                if tensor in inner or not self._prepared.is_live(tensor):
                    continue
                wanted, made = self._wanted(layer, node, slot), self._formats[tensor]
                if wanted in (FP32, made) or bits_of(wanted) > bits_of(made):
                    continue
                if bits_of(wanted) == bits_of(made) and not self.is_live_product(node):
                    continue
                low, high = self._ranges[tensor]
                self._readings[node.output[0], slot] = quantization_of_range(wanted, low, high)


def _is_grid(_: Layer, node: onnx.NodeProto, slot: int) -> bool:
    return node.op_type == "GridSample" and slot == 1


def _pads_with_values(node: onnx.NodeProto, prepared: Prepared) -> bool:
    if node.op_type != "Pad" or len(node.input) < 3 or not node.input[2]:
        return False
    value = prepared.constants.get(node.input[2])
    return value is None or bool(value.any())
