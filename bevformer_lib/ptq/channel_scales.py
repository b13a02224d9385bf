"""Which scale every channel of a group should have, and a graph with these scales in its weights.

An activation has one scale for all of its channels, so that those with small values are left with few codes; a weight
has one for all inputs of an output channel. Where the activations of a channel are divided by s, its weights are
multiplied by s: what one gains the other loses. The scales are ``s = r^a * w^(a - 1)``, with r the largest activation
and w the largest weight of a channel (Xiao et al., SmoothQuant, 2022; a = 1/2 is the cross-layer equalisation of Nagel
et al., 2019, by activations instead of weights). Of several a, and no scale at all, the one is taken whose rounding
errors add up to the least.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.convert.ranges import SampleRuns, without_outputs
from bevformer_lib.emulator.fusion import fuse
from bevformer_lib.emulator.operators import MOVEMENT
from bevformer_lib.errors import ConversionError
from bevformer_lib.export.graph import attributes, drop_unused_nodes
from bevformer_lib.ptq.channel_groups import ChannelGroup, find_groups
from bevformer_lib.ptq.channel_layout import channel_map, free, number_of_values

_STRENGTHS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_LEAST_SHARE: Final = 1 / 64
"""Of the largest channel: those that the calibration set hardly shows are taken to be as large as this."""
_STEPS: Final = 255
_LEARNT: Final = 0.2
"""What learning leaves of the mean square error of rounded weights, about; it comes after the scales."""
_WEIGHT_STEPS: Final = 127.5
_SCALED: Final = ".scaled"
_SMALLEST: Final = float(np.finfo(np.float32).tiny)
_REDUCTIONS: Final = ("ReduceMin", "ReduceMax", "ReduceSumSquare")


@dataclass(frozen=True)
class ChannelRanges:
    """What the channels of a tensor hold over the calibration set.

    Attributes:
        lowest: (C,), smallest values, at most 0.
        highest: (C,), largest ones, at least 0.
        squares: (C,), mean squares.
    """

    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    squares: NDArray[np.float64]


def equalize(
    model: onnx.ModelProto, wanted: Callable[[ChannelGroup], bool], runs: SampleRuns
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Return a copy with scales in the weights of the groups that gain by it, and facts.

    Raises:
        ConversionError: a tensor holds NaN or infinity.
        RuntimeUnavailableError: ONNX Runtime is not installed, or has no such device.
    """
    groups = [group for group in find_groups(model) if wanted(group)]
    ranges = measure_channels(model, groups, runs)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    errors: list[tuple[float, float]] = []
    for group, found in zip(groups, ranges, strict=True):
        weights = consumer_weights(copy, group)
        scales = chosen_scales(group, weights, found)
        before, after = (predicted_error(group, weights, found, each) for each in (np.ones(group.size), scales))
        errors.append((math.sqrt(before), math.sqrt(after)))
        if after < before:
            put_scales(copy, group, scales)
    drop_unused_nodes(copy.graph)
    changed = sum(after < before for before, after in errors)
    means = [sum(error[which] for error in errors) / max(1, len(errors)) for which in (0, 1)]
    return copy, {
        "groups": len(groups),
        "scaled": changed,
        "predicted_error_before": means[0],
        "predicted_error_after": means[1],
        "summary": f"{changed} of {len(groups)} groups of channels scaled: predicted error of what reads them "
        f"{means[0]:.2%} -> {means[1]:.2%}",
    }


def measure_channels(
    model: onnx.ModelProto, groups: Sequence[ChannelGroup], runs: SampleRuns
) -> list[dict[str, ChannelRanges]]:
    """Return, for every group, what the channels of those of its tensors hold that are rounded.

    Raises:
        ConversionError: a tensor holds NaN or infinity.
    """
    own = _rounded(model)
    found: list[dict[str, ChannelRanges]] = []
    for group in groups:
        read = {consumer.data for consumer in group.consumers}
        names = [name for name in group.layouts if name in own or name in read]
        found.append({name: ChannelRanges(*np.zeros((3, group.size))) for name in names})
    wanted = [
        (group.layouts[name], name, ranges[name])
        for group, ranges in zip(groups, found, strict=True)
        for name in ranges
    ]
    augmented = without_outputs(model)
    for number, (layout, name, _) in reversed(list(enumerate(wanted))):
        axes = [axis for axis, factors in enumerate(layout) if free(factors)]
        for operator in _REDUCTIONS:
            output = f"channels.{operator}.{number}"
            augmented.graph.node.append(helper.make_node(operator, [name], [output], output, axes=axes, keepdims=1))
            augmented.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    if not wanted:
        return found
    for outputs in runs.outputs(augmented, "measure channels"):
        for number, (layout, name, ranges) in enumerate(wanted):
            channels = channel_map(layout).ravel()
            low, high, squares = (outputs[f"channels.{operator}.{number}"].ravel() for operator in _REDUCTIONS)
            if not np.isfinite(squares).all():
                raise ConversionError(f"'{name}' holds NaN or infinity on the calibration set")
            np.minimum.at(ranges.lowest, channels, low)
            np.maximum.at(ranges.highest, channels, high)
            values = number_of_values(layout) / len(ranges.squares) * runs.num_samples
            np.add.at(ranges.squares, channels, squares / values)
    return found


def chosen_scales(
    group: ChannelGroup, weights: Sequence[NDArray[np.float64]], ranges: Mapping[str, ChannelRanges]
) -> NDArray[np.float64]:
    """Return what to divide every channel by, (C,): all 1 where nothing else is better."""
    size, heavy = np.zeros(group.size), np.zeros(group.size)
    for tensor in ranges.values():
        largest = np.maximum(-tensor.lowest, tensor.highest)
        size = np.maximum(size, largest / max(largest.max(), _SMALLEST))
    for weight in weights:
        by_output = np.maximum(weight.max(axis=(1, 2), keepdims=True), _SMALLEST)
        heavy = np.maximum(heavy, (weight / by_output).max(axis=(0, 2)))
    size, heavy = np.maximum(size, _LEAST_SHARE), np.maximum(heavy, _LEAST_SHARE)
    candidates = [np.ones(group.size)]
    candidates += [size**strength * heavy ** (strength - 1) for strength in _STRENGTHS]
    return min(candidates, key=lambda scales: predicted_error(group, weights, ranges, scales))


def predicted_error(
    group: ChannelGroup,
    weights: Sequence[NDArray[np.float64]],
    ranges: Mapping[str, ChannelRanges],
    scales: NDArray[np.float64],
) -> float:
    """Return the mean square error that rounding to 8 bits makes behind the consumers, as a share of their power.

    Rounding to steps of d makes a mean square error of d^2 / 12; errors are taken to be independent.
    """
    steps = [(np.max(one.highest / scales) - np.min(one.lowest / scales)) / _STEPS for one in ranges.values()]
    noise = sum(step**2 for step in steps) / 12
    total = 0.0
    for consumer, weight in zip(group.consumers, weights, strict=True):
        gains, squares = (weight**2).sum(axis=(0, 2)), ranges[consumer.data].squares
        of_weights = ((weight * scales[:, np.newaxis]).max(axis=(1, 2)) / _WEIGHT_STEPS) ** 2 / 12
        error = _LEARNT * of_weights.sum() * weight.shape[2] * (squares / scales**2).sum() + noise * (gains @ scales**2)
        total += float(error / max(gains @ squares, _SMALLEST))
    return total / len(weights)


def consumer_weights(model: onnx.ModelProto, group: ChannelGroup) -> list[NDArray[np.float64]]:
    """Return the absolute weights of a group's consumers as (outputs, C, weights of a channel)."""
    stored = {one.name: one for one in model.graph.initializer}
    now = {node.name: node.input[1] for node in model.graph.node if len(node.input) > 1}
    matrices = []
    for consumer in group.consumers:
        weight = np.abs(numpy_helper.to_array(stored[now[consumer.node.name]]).astype(np.float64))
        by_input = np.moveaxis(weight, consumer.axis, 0)[np.argsort(consumer.channels, kind="stable")]
        by_channel = by_input.reshape(group.size, -1, by_input.shape[1], math.prod(by_input.shape[2:]))
        matrices.append(by_channel.transpose(2, 0, 1, 3).reshape(by_input.shape[1], group.size, -1))
    return matrices


def put_scales(model: onnx.ModelProto, group: ChannelGroup, scales: NDArray[np.float64]) -> None:
    """Divide the tensors of a group by scales, (C,), through the constants around it, in place.

    They get the suffix ``.scaled``: what compares tensors by name must not take them for those of another graph.
    """
    stored = {one.name: one for one in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}

    def multiply(node: onnx.NodeProto, slot: int, factors: NDArray[np.float64]) -> None:
        """Multiply a constant input of a node, which gets one of its own: others may read it too."""
        values = numpy_helper.to_array(stored[node.input[slot]])
        name = f"{node.output[0]}.{slot}{_SCALED}"
        while name in stored:
            name += _SCALED
        stored[name] = numpy_helper.from_array((values * factors).astype(values.dtype), name)
        model.graph.initializer.append(stored[name])
        node.input[slot] = name

    for maker, channels in group.makers:
        node, inverse = nodes[maker.name], 1 / scales[channels]
        rows = node.op_type == "Conv" or (node.op_type == "Gemm" and attributes(node).get("transB", 0))
        for slot in range(1, len(node.input)):
            rank = len(stored[node.input[slot]].dims)
            multiply(node, slot, inverse.reshape(-1, *[1] * (rank - 1)) if slot == 1 and rows else inverse)
    for adder, name, layout in group.constants:
        for slot, read in enumerate(adder.input):
            if read == name:
                multiply(nodes[adder.name], slot, 1 / scales[channel_map(layout)])
    for consumer in group.consumers:
        node = nodes[consumer.node.name]
        rank = len(stored[node.input[1]].dims)
        shape = [-1 if axis == consumer.axis else 1 for axis in range(rank)]
        multiply(node, 1, scales[consumer.channels].reshape(shape))
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [f"{name}{_SCALED}" if name in group.layouts else name for name in names]
    for value in model.graph.value_info:
        if value.name in group.layouts:
            value.name += _SCALED


def _rounded(model: onnx.ModelProto) -> set[str]:
    """Return the tensors that are rounded over a range of their own."""
    constants = {
        one.name: np.empty(tuple(one.dims), np.float32)
        for one in model.graph.initializer
        if one.data_type == TensorProto.FLOAT
    }
    layers = fuse(model.graph, constants, patterns=False)
    return {name for layer in layers if layer.main.op_type not in MOVEMENT for name in layer.outputs}
