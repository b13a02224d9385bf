"""The float graph as the converter sees it before it quantises: what needs no arithmetic is gone.

constants of constants                        -> one constant
Conv -> BatchNormalization                    -> Conv
Identity, x * 1, x / 1, x + 0, same shape     -> nothing
x / constant                                  -> x * (1 / constant), but for the std of uint8 images

Nodes that make an output of the graph stay, so that it keeps its name.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from bevformer_lib.emulator.fusion import pixel_inputs
from bevformer_lib.errors import ConversionError
from bevformer_lib.export.graph import attributes, drop_unused_nodes, without_large_weights

_FLOAT: Final = onnx.TensorProto.FLOAT
_LARGEST_FOLDED: Final = 1 << 24


@dataclass(frozen=True)
class Prepared:
    """A graph ready to be quantised.

    Attributes:
        model: every node has a name of its own, every constant is an initializer.
        constants: the float32 ones by name.
        element_types: tensor -> type, of ``onnx.TensorProto``.
        shapes: tensor -> shape, where it is fixed.
    """

    model: onnx.ModelProto
    constants: dict[str, NDArray[np.float32]]
    element_types: dict[str, int]
    shapes: dict[str, tuple[int, ...]]

    def is_live(self, name: str) -> bool:
        """Tell whether a tensor is a float32 one that is computed or fed."""
        return bool(name) and self.element_types.get(name) == _FLOAT and name not in self.constants


def prepare(model: onnx.ModelProto) -> Prepared:
    """Return the prepared copy of a float graph.

    Raises:
        ConversionError: the graph has branches or loops, or shapes can't be worked out.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    for node in graph.node:
        if any(entry.HasField("g") or entry.graphs for entry in node.attribute):
            raise ConversionError(f"node '{node.name}' ({node.op_type}) is a branch or loop, which the NPU has not")
    arrays = _fold_constants(copy)
    _fold_batch_norms(graph, arrays)
    _multiply_by_reciprocals(graph, arrays)
    _replace_initializers(graph, arrays)
    element_types, shapes = _infer(copy)
    _drop_idle(graph, arrays, shapes)
    drop_unused_nodes(graph)
    kept = {tensor.name for tensor in graph.initializer}
    constants = {name: array for name, array in arrays.items() if name in kept and array.dtype == np.float32}
    return Prepared(copy, constants, element_types, shapes)


def _fold_constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """Compute, in place, every node that reads constants only; return all constants."""
    graph = model.graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    fed = [value for value in graph.input if value.name not in arrays]
    del graph.input[:]
    graph.input.extend(fed)
    outputs = {value.name for value in graph.output}
    kept = []
    for node in graph.node:
        foldable = not outputs.intersection(node.output) and not node.op_type.startswith("Random")
        if foldable and all(name in arrays for name in node.input if name):
            computed = _compute(model, node, arrays)
            if computed is not None:
                arrays.update(computed)
                continue
        kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    return arrays


def _compute(
    model: onnx.ModelProto, node: onnx.NodeProto, arrays: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]] | None:
    names = list(dict.fromkeys(name for name in node.input if name))
    values = [onnx.helper.make_tensor_value_info(name, 0, None) for name in names]
    results = [onnx.helper.make_tensor_value_info(name, 0, None) for name in node.output if name]
    single = onnx.helper.make_model(
        onnx.helper.make_graph([node], "constant", values, results), opset_imports=list(model.opset_import)
    )
    # What the reference can't compute (a custom operator, say) stays a node.
    try:
        computed = ReferenceEvaluator(single).run(None, {name: arrays[name] for name in names})
    except Exception:
        return None
    found = {value.name: np.asarray(array) for value, array in zip(results, computed, strict=True)}
    return None if any(array.size > _LARGEST_FOLDED for array in found.values()) else found


def _fold_batch_norms(graph: onnx.GraphProto, arrays: dict[str, NDArray[Any]]) -> None:
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(value.name for value in graph.output)
    makers = {node.output[0]: node for node in graph.node}
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        conv = makers.get(norm.input[0])
        if conv is None or conv.op_type != "Conv" or readers[conv.output[0]] != 1 or conv.input[1] not in arrays:
            continue
        scale, shift, mean, variance = (arrays[name] for name in norm.input[1:5])
        factor = scale / np.sqrt(variance + attributes(norm).get("epsilon", 1e-5))
        weight = arrays[conv.input[1]]
        bias = arrays[conv.input[2]] if len(conv.input) > 2 else np.zeros_like(mean)
        folded = {
            "weight": weight * factor.reshape(-1, *[1] * (weight.ndim - 1)),
            "bias": (bias - mean) * factor + shift,
        }
        names = {part: f"{norm.output[0]}.{part}" for part in folded}
        arrays.update({names[part]: array.astype(np.float32) for part, array in folded.items()})
        del conv.input[1:]
        conv.input.extend([names["weight"], names["bias"]])
        conv.output[0] = norm.output[0]
        graph.node.remove(norm)


def _multiply_by_reciprocals(graph: onnx.GraphProto, arrays: dict[str, NDArray[Any]]) -> None:
    pixels = pixel_inputs(graph)
    for node in graph.node:
        if pixels.intersection(node.input):
            pixels.update(node.output if node.op_type in ("Cast", "Sub") else ())
            continue  # not the converter's: its input processors normalise
        divisor = arrays.get(node.input[1]) if node.op_type == "Div" else None
        if divisor is None or divisor.dtype != np.float32 or not divisor.all():
            continue
        name = f"{node.output[0]}.reciprocal"
        arrays[name] = (np.float32(1) / divisor).astype(np.float32)
        node.op_type = "Mul"
        node.input[1] = name


def _replace_initializers(graph: onnx.GraphProto, arrays: dict[str, NDArray[Any]]) -> None:
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    del graph.initializer[:]
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items() if name in used)


def _infer(model: onnx.ModelProto) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    light = without_large_weights(model)
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except Exception as error:
        raise ConversionError(f"the shapes of the graph can't be worked out ({error}); check it with 'lint'") from error
    element_types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = value.type.tensor_type
        element_types[value.name] = kind.elem_type
        if kind.HasField("shape") and all(size.HasField("dim_value") for size in kind.shape.dim):
            shapes[value.name] = tuple(size.dim_value for size in kind.shape.dim)
    for node in model.graph.node:
        unknown = [name for name in node.output if name and not element_types.get(name)]
        if unknown:
            raise ConversionError(
                f"the type of '{unknown[0]}' ({node.op_type}) can't be worked out; the graph must be made of standard "
                "operators"
            )
    return element_types, shapes


def _drop_idle(graph: onnx.GraphProto, arrays: dict[str, NDArray[Any]], shapes: dict[str, tuple[int, ...]]) -> None:
    """Remove, in place, nodes that give what they take; those that make an output of the graph stay."""
    outputs = {value.name for value in graph.output}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
        source = _source_of_idle(node, arrays, shapes)
        if source is not None and node.output[0] not in outputs:
            renamed[node.output[0]] = source
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _source_of_idle(
    node: onnx.NodeProto, arrays: dict[str, NDArray[Any]], shapes: dict[str, tuple[int, ...]]
) -> str | None:
    """Return the input that a node gives unchanged, or ``None``."""
    source = str(node.input[0]) if node.input else ""
    if node.op_type in ("Identity", "Dropout"):
        return source
    shape = shapes.get(node.output[0])
    if node.op_type in ("Reshape", "Expand", "Squeeze", "Unsqueeze", "Flatten"):
        same = shape is not None and shapes.get(node.input[0]) == shape
        return source if same else None
    neutral = {"Mul": 1, "Add": 0, "Sub": 0, "Div": 1}.get(node.op_type)
    if neutral is None:
        return None
    for place, other in ((0, 1), (1, 0)):
        constant = arrays.get(node.input[other])
        commutes = node.op_type in ("Mul", "Add") or other == 1
        if constant is not None and commutes and (constant == neutral).all() and shapes.get(node.input[place]) == shape:
            return str(node.input[place])
    return None
