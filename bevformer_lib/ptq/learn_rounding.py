"""Weights of MatMul and Conv rounded so that the products, not the weights, stay what they were.

Rounding to the nearest of 255 steps moves each weight by up to half a step, and the moves of one output channel add up
over the inputs that come together in the data. Here the weights of a channel are rounded one after the other, and what
each was moved by is made up for by those that are left, as the second moments of the inputs over the calibration set
tell (Frantar et al., GPTQ, 2023, after Hassibi and Stork's optimal brain surgeon). The channel's largest weight stays
as it is: it decides the scale, so the converter rounds the result to itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.convert.ranges import SampleRuns, without_outputs
from bevformer_lib.emulator.formats import round_weight
from bevformer_lib.errors import ConversionError
from bevformer_lib.export.graph import attributes, read_tensors, static_shapes

_MOST_INPUTS: Final = 2048
"""Input channels of a layer; its second moments are the square of that."""
_DAMPING: Final = 0.01
"""Added to the second moments, as a share of their mean: directions that the calibration set hardly shows."""
_MOST_STEPS: Final = 127
_MOST_POSITIONS: Final = 512
"""Of a Conv's output in an image that are looked at, about."""


@dataclass(frozen=True)
class RoundedLayer:
    """What learning changed in a layer.

    Attributes:
        nearest: root mean square of the error of its products with every weight rounded to nearest, as a share of
            that of the products.
        learnt: the same with the learnt weights.
    """

    name: str
    nearest: float
    learnt: float


def apply(model: onnx.ModelProto, runs: SampleRuns) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Learn the rounding of a graph's weights; see :func:`learn_rounding`."""
    learnt, layers = learn_rounding(model, runs)
    count = max(1, len(layers))
    nearest, rounded = sum(one.nearest for one in layers) / count, sum(one.learnt for one in layers) / count
    return learnt, {
        "layers": len(layers),
        "mean_error_nearest": nearest,
        "mean_error_learnt": rounded,
        "summary": f"{len(layers)} layers: mean error of what they compute {nearest:.2%} -> {rounded:.2%}",
    }


def learn_rounding(model: onnx.ModelProto, runs: SampleRuns) -> tuple[onnx.ModelProto, tuple[RoundedLayer, ...]]:
    """Return a copy whose MatMul and Conv have weights that the converter rounds to themselves, and what was gained.

    Weights that several nodes read, of groups, or of more than 2,048 inputs are left as they are.

    Raises:
        ConversionError: a layer's inputs hold NaN or infinity.
        RuntimeUnavailableError: ONNX Runtime is not installed, or has no such device.
    """
    learnt = onnx.ModelProto()
    learnt.CopyFrom(model)
    weights = {one.name: one for one in learnt.graph.initializer}
    products = _products(learnt, weights)
    if not products:
        return learnt, ()
    moments = _second_moments(model, products, runs)
    layers = []
    for product in products:
        stored = weights[product.node.input[1]]
        values = numpy_helper.to_array(stored).astype(np.float32)
        weight = values.reshape(len(values), -1).T if product.is_conv else values
        second = moments[product.key]
        if not np.isfinite(second).all():
            raise ConversionError(f"'{product.node.input[0]}' holds NaN or infinity on the calibration set")
        changed = learnt_weight(weight, second)
        put = np.ascontiguousarray(changed.T).reshape(values.shape) if product.is_conv else changed
        stored.CopyFrom(numpy_helper.from_array(put, stored.name))
        layers.append(
            RoundedLayer(
                product.node.name,
                _relative_error(weight, round_weight(weight, 1), second),
                _relative_error(weight, round_weight(changed, 1), second),
            )
        )
    return learnt, tuple(layers)


def learnt_weight(weight: NDArray[np.float32], second_moments: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a weight that rounds to itself and keeps the products; channels that gain nothing are left as they are.

    Args:
        weight: (K, N), output channels last.
        second_moments: (K, K), the sum of x x^T over the inputs x.
    """
    largest = np.abs(weight).argmax(axis=0)
    channels = np.arange(weight.shape[1])
    fixed = np.zeros(weight.shape, bool)
    fixed[largest, channels] = True
    nearest = round_weight(weight, 1).astype(np.float64)
    scale = np.abs(weight[largest, channels]) / np.float32(127.5)
    scale = np.where(scale > 0, scale, 1).astype(np.float64)

    moments = second_moments.astype(np.float64)
    moments = moments + np.eye(len(moments)) * max(_DAMPING * np.diag(moments).mean(), 1e-12)
    order = np.argsort(-np.diag(moments), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(moments[np.ix_(order, order)])).T
    left = weight[order].astype(np.float64)
    kept, fixed, nearest = weight[order], fixed[order], nearest[order]
    rounded = np.empty_like(left)
    for row in range(len(left)):
        steps = np.clip(np.rint(left[row] / scale), -_MOST_STEPS, _MOST_STEPS)
        rounded[row] = np.where(fixed[row], nearest[row], steps * scale)
        error = (left[row] - rounded[row]) / upper[row, row]
        left[row + 1 :] -= np.outer(upper[row, row + 1 :], error)
    result = np.empty_like(weight)
    result[order] = np.where(fixed, kept, rounded.astype(np.float32))
    better = _errors(weight, round_weight(result, 1), second_moments) < _errors(
        weight, round_weight(weight, 1), second_moments
    )
    return np.where(better, result, weight)


@dataclass(frozen=True)
class _Product:
    """A MatMul, or a Conv as the product of its weights with the patches that it reads.

    Attributes:
        inputs: input channels of a MatMul; those times the kernel's size for a Conv.
        positions: of a Conv's output per image: height and width; (0, 0) where they are not known.
    """

    node: onnx.NodeProto
    inputs: int
    positions: tuple[int, int] = (0, 0)

    @property
    def is_conv(self) -> bool:
        return self.node.op_type == "Conv"

    @property
    def key(self) -> str:
        """What the second moments depend on: products of the same inputs share them."""
        if not self.is_conv:
            return str(self.node.input[0])
        return f"{self.node.input[0]} {sorted(attributes(self.node).items())}"


def _products(model: onnx.ModelProto, weights: Mapping[str, onnx.TensorProto]) -> list[_Product]:
    readers = Counter(name for node in model.graph.node for name in read_tensors(node))
    shapes = static_shapes(model)
    found = []
    for node in model.graph.node:
        if node.op_type not in ("MatMul", "Conv") or node.input[0] in weights or node.input[1] not in weights:
            continue
        dims = list(weights[node.input[1]].dims)
        inputs = dims[0] if node.op_type == "MatMul" else int(np.prod(dims[1:]))
        if readers[node.input[1]] > 1 or attributes(node).get("group", 1) != 1 or inputs > _MOST_INPUTS:
            continue
        if node.op_type == "MatMul" and len(dims) == 2:
            found.append(_Product(node, inputs))
        elif node.op_type == "Conv" and len(dims) == 4:
            height, width = shapes.get(node.output[0], (0,) * 4)[2:]
            found.append(_Product(node, inputs, (height, width)))
    return found


def _second_moments(
    model: onnx.ModelProto, products: Sequence[_Product], runs: SampleRuns
) -> dict[str, NDArray[np.float64]]:
    """Return the sum of x x^T over all inputs x of every product, which the graph itself computes."""
    augmented = without_outputs(model)
    distinct = {product.key: product for product in products}
    for place, product in reversed(list(enumerate(distinct.values()))):
        _put_out_moments(augmented.graph, product, f"second_moments.{place}")
    totals = {key: np.zeros((product.inputs, product.inputs)) for key, product in distinct.items()}
    for outputs in runs.outputs(augmented, "learn rounding"):
        for place, key in enumerate(distinct):
            totals[key] += outputs[f"second_moments.{place}"]
    return totals


def _put_out_moments(graph: onnx.GraphProto, product: _Product, output: str) -> None:
    """Add nodes that compute ``output``, (K, K), from what a product reads."""
    read = product.node.input[0]
    if product.is_conv:
        [weight] = [one for one in graph.initializer if one.name == product.node.input[1]]
        # A Conv whose every output channel copies one weight's input: the patches, (B, K, H, W), here and there.
        every = _every(product.positions)
        how = attributes(product.node)
        how["strides"] = [step * every for step in how.get("strides", [1, 1])]
        copying = np.eye(product.inputs, dtype=np.float32).reshape(product.inputs, *weight.dims[1:])
        graph.initializer.append(numpy_helper.from_array(copying, f"{output}.copying"))
        patches, read = f"{output}.patches", f"{output}.channels_last"
        graph.node.append(
            helper.make_node("Conv", [product.node.input[0], f"{output}.copying"], [patches], patches, **how)
        )
        graph.node.append(helper.make_node("Transpose", [patches], [read], read, perm=[0, 2, 3, 1]))
    shape, flat, turned = (f"{output}.{part}" for part in ("shape", "flat", "turned"))
    graph.initializer.append(numpy_helper.from_array(np.array([-1, product.inputs], np.int64), shape))
    graph.node.append(helper.make_node("Reshape", [read, shape], [flat], flat))
    graph.node.append(helper.make_node("Transpose", [flat], [turned], turned, perm=[1, 0]))
    graph.node.append(helper.make_node("MatMul", [turned, flat], [output], output))
    graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, [product.inputs, product.inputs]))


def _every(positions: tuple[int, int]) -> int:
    """Return which share of a Conv's positions is looked at: neighbours say the same."""
    return max(1, int(np.sqrt(positions[0] * positions[1] / _MOST_POSITIONS)))


def _errors(weight: NDArray[np.float32], rounded: NDArray[np.float32], moments: NDArray[np.float64]) -> NDArray[Any]:
    """Return the sum of the squared errors of the products, by output channel."""
    moved = (rounded - weight).astype(np.float64)
    squares: NDArray[Any] = (moved * (moments @ moved)).sum(axis=0)
    return squares


def _relative_error(weight: NDArray[np.float32], rounded: NDArray[np.float32], moments: NDArray[np.float64]) -> float:
    power = float(_errors(np.zeros_like(weight), weight, moments).sum())
    error = float(_errors(weight, rounded, moments).sum())
    return float(np.sqrt(max(error, 0.0) / power)) if power > 0 else 0.0
