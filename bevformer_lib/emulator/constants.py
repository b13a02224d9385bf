"""Weights and constants as the converter stores them, put into the graph as float numbers.

Weights of Conv, ConvTranspose, Gemm and MatMul have a scale per output channel, constants that other operators read
one scale each. Biases, and the scales of normalisations, keep their precision. So that no time is spent on it at
run time, the rounded numbers themselves are stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from bevformer_lib.emulator.formats import FP32, S8, round_constant, round_weight
from bevformer_lib.emulator.fusion import Layer
from bevformer_lib.emulator.operators import WEIGHTED, data_slots, weight_axis
from bevformer_lib.emulator.prepare import Prepared
from bevformer_lib.emulator.requests import LayerTypes
from bevformer_lib.export.graph import drop_unused_nodes


def round_constants(
    prepared: Prepared,
    layers: Sequence[Layer],
    types: Mapping[str, LayerTypes],
    given: Mapping[str, NDArray[np.float32]] | None = None,
) -> onnx.ModelProto:
    """Return a copy of the graph with rounded weights and constants.

    Args:
        prepared: the graph.
        layers: its layers.
        types: their formats, by first output.
        given: name of a weight or constant -> rounded values to take instead, as when rounding was learnt or a build
            wrote them down.
    """
    model = onnx.ModelProto()
    model.CopyFrom(prepared.model)
    places = {node.output[0]: place for place, node in enumerate(model.graph.node)}
    stored: dict[str, NDArray[np.float32]] = {}
    for layer in layers:
        asked = types[layer.outputs[0]]
        for node in layer.nodes:
            for slot in data_slots(node):
                name = node.input[slot]
                if name not in prepared.constants or name in layer.bias_constants:
                    continue
                values = prepared.constants[name]
                weight = node.op_type in WEIGHTED and slot < 2
                kind = (S8 if asked.weight == S8 else FP32) if weight else asked.data
                chosen = (given or {}).get(name)
                if kind == FP32 and chosen is None:
                    continue
                axis = weight_axis(node, slot, values.ndim) if weight else None
                rounded_name = f"{name}.{kind}.{axis}" if weight else f"{name}.{kind}"
                if rounded_name not in stored:
                    stored[rounded_name] = _rounded(values, kind, weight, axis) if chosen is None else chosen
                model.graph.node[places[node.output[0]]].input[slot] = rounded_name
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in stored.items())
    drop_unused_nodes(model.graph)
    return model


def _rounded(values: NDArray[np.float32], kind: str, weight: bool, axis: int | None) -> NDArray[np.float32]:
    return round_weight(values, axis) if weight else round_constant(kind, values)
