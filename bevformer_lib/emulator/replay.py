"""The numbers of a real build put into its float graph, and how far the prediction was from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from bevformer_lib.emulator.constants import round_constants
from bevformer_lib.emulator.emulate import EmulatedGraph
from bevformer_lib.emulator.formats import FORMATS, FP32, Quantization
from bevformer_lib.emulator.fusion import Layer, pixel_inputs
from bevformer_lib.emulator.graph import write_plan
from bevformer_lib.emulator.operators import JOINING, MOVEMENT, WEIGHTED, weight_axis
from bevformer_lib.emulator.plan import Plan, Reading
from bevformer_lib.emulator.prepare import Prepared
from bevformer_lib.emulator.requests import LayerTypes
from bevformer_lib.pulsar2.quantization_record import QuantizationRecord, RecordedNumbers

SCALE_TOLERANCE: Final = 1e-4
"""Relative; two scales closer than this are one, computed in another order."""


@dataclass(frozen=True)
class Difference:
    """A tensor whose recorded numbers are not the predicted ones.

    Attributes:
        predicted: format, scale and zero point in words.
    """

    tensor: str
    predicted: str
    built: str


@dataclass(frozen=True)
class ReplayedGraph:
    """A real build's numbers in both bounds.

    Attributes:
        main: every tensor of the compiled graph rounded.
        optimistic: outputs of movement operators not rounded.
        differences: where the prediction was wrong.
    """

    main: onnx.ModelProto
    optimistic: onnx.ModelProto
    differences: tuple[Difference, ...]
    compared: int

    @property
    def findings(self) -> tuple[str, ...]:
        """The differences in a line each, preceded by their number."""
        head = f"{len(self.differences)} of {self.compared} tensors were built otherwise than predicted"
        return (
            head,
            *(f"'{each.tensor}': predicted {each.predicted}, built {each.built}" for each in self.differences),
        )


def replay(predicted: EmulatedGraph, record: QuantizationRecord) -> ReplayedGraph:
    """Return the graph with the numbers of a build."""
    prepared = predicted.prepared
    images = _normalized_images(predicted)
    outputs = dict(_outputs(prepared, record, images))
    fused = {name for layer in predicted.layers for node in layer.nodes[:-1] for name in node.output}
    if record.kept is None:
        outputs = {name: numbers for name, numbers in outputs.items() if name not in fused}
    readings = dict(_readings(prepared, record, outputs, images))
    main = Plan(outputs, readings, {}, {})
    moving = {
        name
        for node in prepared.model.graph.node
        if node.op_type in MOVEMENT | JOINING
        for name in node.output
        if name not in fused
    }
    optimistic = Plan({name: q for name, q in outputs.items() if name not in moving}, readings, {}, {})
    layers = [Layer(node, (node,)) for node in prepared.model.graph.node]
    types = {layer.main.output[0]: LayerTypes(data=FP32, weight=FP32) for layer in layers}
    constants = round_constants(prepared, layers, types, dict(_constants(prepared, record)))
    differences, compared = _differences(predicted, outputs)
    return ReplayedGraph(write_plan(constants, main), write_plan(constants, optimistic), differences, compared)


def _normalized_images(predicted: EmulatedGraph) -> dict[str, str]:
    """Return what is made of pixels before the graph that the converter was given -> its input, by that graph."""
    pixels = pixel_inputs(predicted.prepared.model.graph)
    first = {layer.outputs[0]: layer.nodes[0].input[0] for layer in predicted.layers if layer.nodes[0].input}
    return {name: source for name, source in first.items() if source in pixels}


def _outputs(
    prepared: Prepared, record: QuantizationRecord, images: Mapping[str, str]
) -> Iterator[tuple[str, Quantization]]:
    fed = {value.name: value.name for value in prepared.model.graph.input if prepared.is_live(value.name)}
    for name, recorded in (fed | dict(images)).items():
        numbers = record.of_tensor(recorded)
        if numbers is not None and not numbers.per_channel:
            yield name, _quantization(numbers)
    for node in prepared.model.graph.node:
        own = record.operators.get(node.name, {})
        for name in node.output:
            numbers = own.get(name) or record.of_tensor(name)
            kept = record.kept is None or name in record.kept
            if prepared.is_live(name) and kept and numbers is not None and not numbers.is_float:
                yield name, _quantization(numbers)


def _readings(
    prepared: Prepared, record: QuantizationRecord, outputs: dict[str, Quantization], images: Mapping[str, str]
) -> Iterator[tuple[Reading, Quantization]]:
    for node in prepared.model.graph.node:
        own = record.operators.get(node.name, {})
        for slot, name in enumerate(node.input):
            numbers = own.get(images.get(name, name))
            if numbers is None or numbers.is_float or name not in outputs or not prepared.is_live(name):
                continue
            quantization = _quantization(numbers)
            if quantization != outputs[name]:
                yield (node.output[0], slot), quantization


def _constants(prepared: Prepared, record: QuantizationRecord) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield weights and constants as the build rounded them."""
    for node in prepared.model.graph.node:
        own = record.operators.get(node.name, {})
        for slot, name in enumerate(node.input):
            if name not in prepared.constants:
                continue
            values = prepared.constants[name]
            numbers = own.get(name)
            if numbers is None and node.op_type in WEIGHTED and slot == 1:
                # The converter transposes the weights of a MatMul and gives them a name of its own.
                numbers = next((entry for entry in own.values() if entry.per_channel), None)
            if numbers is None or numbers.is_float or numbers.bits not in (8, 16):
                continue
            if numbers.per_channel and len(numbers.scales) > 1:
                yield name, _round_channels(values, numbers, weight_axis(node, slot, values.ndim))
            else:
                yield name, _quantization(numbers).round(values)


def _round_channels(values: NDArray[np.float32], numbers: RecordedNumbers, axis: int | None) -> NDArray[np.float32]:
    shape = [-1 if place == (axis or 0) else 1 for place in range(values.ndim)]
    scales = np.array(numbers.scales, np.float32).reshape(shape)
    codes = np.clip(np.rint(values / np.where(scales == 0, np.float32(1), scales)), numbers.low, numbers.high)
    rounded: NDArray[np.float32] = (codes * scales).astype(np.float32)
    return rounded


def _quantization(numbers: RecordedNumbers) -> Quantization:
    signed = numbers.low < 0
    name = next(known.name for known in FORMATS.values() if (known.bits, known.signed) == (numbers.bits, signed))
    return Quantization(name, numbers.scales[0], numbers.zero_points[0], numbers.low, numbers.high)


def _differences(predicted: EmulatedGraph, outputs: dict[str, Quantization]) -> tuple[tuple[Difference, ...], int]:
    differences = []
    for tensor in predicted.tensors:
        built = outputs.get(tensor.name)
        alike = (
            (built is None) == (tensor.format == FP32)
            if built is None or tensor.format == FP32
            else built.format == tensor.format
            and abs(built.scale - tensor.scale) <= SCALE_TOLERANCE * max(built.scale, tensor.scale)
            and abs(built.zero_point - tensor.zero_point) <= 1
        )
        if not alike:
            mine = f"{tensor.format}, scale {tensor.scale:.6g}, zero point {tensor.zero_point}"
            theirs = (
                "not rounded"
                if built is None
                else f"{built.format}, scale {built.scale:.6g}, zero point {built.zero_point}"
            )
            differences.append(Difference(tensor.name, "not rounded" if tensor.format == FP32 else mine, theirs))
    known = {tensor.name for tensor in predicted.tensors}
    differences += [
        Difference(name, "fused away", f"{q.format}, scale {q.scale:.6g}, zero point {q.zero_point}")
        for name, q in outputs.items()
        if name not in known
    ]
    return tuple(differences), len(known | set(outputs))
