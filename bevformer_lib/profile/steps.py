"""How far apart the values are that an activation can take in eight bits, by what its values mean.

An activation has one scale for the whole tensor: a step is its range over the set, widened to hold 0, over 255. What
a step is worth depends on the values: a sampling position is good to a fraction of a pixel of the map that is sampled,
a box to centimetres, a feature to a fraction of its own spread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from bevformer_lib.convert.ranges import ReducedTensor, SampleRuns, activation_reductions
from bevformer_lib.export.graph import StaticShape, constant_values, static_shapes

U8_STEPS: Final = 255
U16_STEPS: Final = 65535

Unit = Literal["pixels", "deviations"]

LARGEST_STEP: Final[Mapping[Unit, float]] = {"pixels": 0.25, "deviations": 0.5}
"""A step above this is named: a quarter of a pixel of the sampled map, or half a standard deviation."""

_SAME_VALUES: Final = frozenset(
    {"Clip", "Gather", "Identity", "ReduceMax", "ReduceSum", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators whose output is in the unit of their first input."""
_SUMS: Final = frozenset({"Add", "Concat", "Max", "Min", "Sub"})
"""Of all their inputs."""
_MAX_CONSTANT: Final = 1 << 20
_XY: Final = 2


@dataclass(frozen=True)
class TensorStep:
    """An activation in eight bits.

    Attributes:
        made_by: operator that computes it; ``input`` for the graph's inputs.
        lowest: smallest value over the set.
        highest: largest.
        deviation: root of the mean square over the set.
        unit: what a step is compared with: ``pixels`` of the map that is sampled, or ``deviations``.
        step: of eight bits, in the tensor's own values.
        step_in_units: the same in the unit.
    """

    name: str
    made_by: str
    lowest: float
    highest: float
    deviation: float
    unit: Unit
    step: float
    step_in_units: float

    @property
    def is_wide(self) -> bool:
        """Whether eight bits are too coarse for it."""
        return self.step_in_units > LARGEST_STEP[self.unit]

    @property
    def step_in_units_u16(self) -> float:
        """The step of sixteen bits in the unit."""
        return self.step_in_units * U8_STEPS / U16_STEPS


def tensor_steps(model: onnx.ModelProto, runs: SampleRuns) -> tuple[TensorStep, ...]:
    """Return every activation's step, those that are coarsest for what they mean first.

    Args:
        model: a float graph of fixed shapes.
        runs: over the samples.

    Raises:
        ConversionError: a tensor holds NaN or infinity.
    """
    shapes = static_shapes(model)
    makers = _makers(model)
    tensors = [name for name in makers if math.prod(shapes.get(name, (0,))) > 0]
    reduced = activation_reductions(model, {name: math.prod(shapes[name]) for name in tensors}, runs)
    pixels = _pixels_per_value(model.graph, shapes, reduced)
    steps = [
        _step(name, makers[name], found, pixels.get(name))
        for name, found in reduced.items()
        if found.highest > found.lowest
    ]
    return tuple(sorted(steps, key=lambda step: -step.step_in_units / LARGEST_STEP[step.unit]))


def _makers(model: onnx.ModelProto) -> dict[str, str]:
    """Return the float activations and what makes them, in graph order."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    floats = {
        value.name
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    constants = {tensor.name for tensor in model.graph.initializer}
    made = {value.name: "input" for value in model.graph.input if value.name not in constants}
    made |= {name: node.op_type for node in model.graph.node if node.op_type != "Constant" for name in node.output}
    return {name: maker for name, maker in made.items() if name in floats}


def _step(name: str, maker: str, found: ReducedTensor, pixels: float | None) -> TensorStep:
    step = (max(found.highest, 0.0) - min(found.lowest, 0.0)) / U8_STEPS
    unit: Unit = "deviations" if pixels is None else "pixels"
    in_units = step / found.deviation if pixels is None else step * pixels
    return TensorStep(name, maker, found.lowest, found.highest, found.deviation, unit, step, in_units)


def _pixels_per_value(
    graph: onnx.GraphProto, shapes: Mapping[str, StaticShape], reduced: Mapping[str, ReducedTensor]
) -> dict[str, float]:
    """Return how many pixels of the sampled map one unit of a tensor is, for tensors that become sampling positions.

    Followed from every GridSample's grid backwards, through operators that move values, add them, or scale them; a
    divisor that is computed counts with the root of its mean square, a factor with its largest value.
    """
    makers = {name: node for node in graph.node for name in node.output}
    constants = constant_values(graph, max_elements=_MAX_CONSTANT)
    found: dict[str, NDArray[np.float64]] = {}
    wanted: list[tuple[str, NDArray[np.float64]]] = []
    for node in graph.node:
        if node.op_type == "GridSample":
            height, width = shapes[node.input[0]][-2:]
            # Grids span -1 to 1, x and y in turn.
            wanted.append((node.input[1], np.array([width, height]) / 2))
    while wanted:
        name, scale = wanted.pop()
        if name not in reduced or (name in found and (found[name] >= scale).all()):
            continue
        found[name] = scale = np.maximum(scale, found.get(name, scale))
        if name in makers:
            wanted += _sources(makers[name], scale, constants, reduced)
    return {name: float(scale.max()) for name, scale in found.items()}


def _sources(
    node: onnx.NodeProto,
    scale: NDArray[np.float64],
    constants: Mapping[str, NDArray[Any]],
    reduced: Mapping[str, ReducedTensor],
) -> list[tuple[str, NDArray[np.float64]]]:
    """Return the inputs that are positions where the output is one, with the pixels per unit of each."""
    if node.op_type in _SUMS:
        return [(name, scale) for name in node.input]
    if node.op_type in _SAME_VALUES:
        return [(node.input[0], scale)]
    if node.op_type == "Where":
        return [(name, scale) for name in node.input[1:]]
    if node.op_type == "Div":
        divisor = _factor(node.input[1], constants, reduced, mean=True)
        return [(node.input[0], scale / np.where(divisor == 0, np.inf, divisor))]
    if node.op_type == "Mul":
        first, second = node.input
        return [
            (first, scale * _factor(second, constants, reduced, mean=False)),
            (second, scale * _factor(first, constants, reduced, mean=False)),
        ]
    return []


def _factor(
    name: str, constants: Mapping[str, NDArray[Any]], reduced: Mapping[str, ReducedTensor], *, mean: bool
) -> NDArray[np.float64]:
    """Return the size of a factor: of x and y in turn where a constant has two values."""
    if name in constants:
        values = np.abs(constants[name].astype(np.float64))
        return values.ravel() if values.size == _XY else np.array(values.max())
    if name not in reduced:
        return np.array(0.0)
    found = reduced[name]
    return np.array(found.deviation if mean else max(abs(found.lowest), abs(found.highest)))
