"""The ranges that activations take while weights and constants are rounded already.

MinMax keeps the smallest and largest value of all samples. Percentile cuts off the outermost values of every sample,
a ten-thousandth on each side, and takes the mean over samples: the converter's own share is not documented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.convert.ranges import SampleRuns, activation_ranges, without_outputs
from bevformer_lib.errors import ConversionError

CUT_OFF: Final = 1e-4
"""Share of a tensor's values that Percentile leaves out at each end."""


def measure_ranges(
    model: onnx.ModelProto,
    shapes: Mapping[str, tuple[int, ...]],
    runs: SampleRuns,
    *,
    percentile: bool = False,
) -> dict[str, tuple[float, float]]:
    """Run a graph over samples and return the range of tensors inside it.

    Args:
        model: the graph with rounded constants.
        shapes: name -> shape of the tensors to measure, in graph order.
        runs: over the samples.
        percentile: whether outliers are cut off.

    Raises:
        ConversionError: a tensor holds NaN or infinity, or there are no samples.
    """
    if percentile:
        found = _percentiles(model, shapes, runs)
    else:
        measured = activation_ranges(model, list(shapes), runs)
        found = {name: (float(low), float(high)) for name, (low, high) in measured.items()}
    if any(not np.isfinite(ends).all() for ends in found.values()):
        raise ConversionError("there are no calibration samples to measure ranges with")
    return found


def _percentiles(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], runs: SampleRuns
) -> dict[str, tuple[float, float]]:
    tensors = list(shapes)
    totals = np.zeros((2, len(tensors)))
    count = 0
    for count, outputs in enumerate(runs.outputs(_with_percentiles(model, shapes)), start=1):
        ends = np.array([[outputs[_end(place, side)].item() for place in range(len(tensors))] for side in (0, 1)])
        if not np.isfinite(ends).all():
            place = int(np.argmin(np.isfinite(ends).all(axis=0)))
            raise ConversionError(f"calibration sample {count}: '{tensors[place]}' holds NaN or infinity")
        totals += ends
    if not count:
        raise ConversionError("there are no calibration samples to measure ranges with")
    lowest, highest = totals / count
    return {name: (float(lowest[place]), float(highest[place])) for place, name in enumerate(tensors)}


def _with_percentiles(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """Return a copy whose outputs are, for every tensor, the values that its outermost ones are cut off at."""
    augmented = without_outputs(model)
    graph = augmented.graph
    graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), "calibration.flat"))
    for place, (tensor, shape) in reversed(list(enumerate(shapes.items()))):
        flat = f"calibration.values.{place}"
        graph.node.append(helper.make_node("Reshape", [tensor, "calibration.flat"], [flat], name=flat))
        rank = 1 + int(np.prod(shape) * CUT_OFF)
        for side, name in ((0, f"calibration.rank.{place}"), (1, f"calibration.last.{place}")):
            value = rank if side == 0 else rank - 1
            graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
        for side in (0, 1):
            top, end = f"calibration.top.{place}.{side}", _end(place, side)
            graph.node.append(
                helper.make_node(
                    "TopK", [flat, f"calibration.rank.{place}"], [top, f"{top}.places"], name=top, largest=side
                )
            )
            graph.node.append(helper.make_node("Gather", [top, f"calibration.last.{place}"], [end], name=end))
            graph.output.append(helper.make_tensor_value_info(end, TensorProto.FLOAT, [1]))
    return augmented


def _end(place: int, side: int) -> str:
    return f"calibration.end.{place}.{side}"
