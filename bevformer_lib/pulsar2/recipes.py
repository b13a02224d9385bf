"""Named quantisation settings.

``vendor-tiny`` is what the model's vendor published for BEVFormer-Tiny on AX650: all three cores, 64 samples, MSE,
smooth quantisation, biases and LayerNorm scales in float, and operators in float from the encoder on. The published
list of these operators names the nodes of the vendor's own export; here it is made by the same rule for any graph:
every operator that the converter computes in float (its documented list) and that lies behind ``prev_bev``.

``mixed`` is what keeps a model's detections where the host computes the geometry: from the encoder on, 16 bits for
everything but convolutions and the largest matrix products, so that at most a tenth of the multiply-accumulates are
above 8 bits. The region is given by tensors, since names and types of operators that the converter fuses are refused or
pass unheeded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Final

import onnx

from bevformer_lib.errors import ConversionError
from bevformer_lib.export.graph import graph_inputs, stated_shapes
from bevformer_lib.export.macs import count_macs
from bevformer_lib.names import INPUT_IMG, INPUT_PREV_BEV
from bevformer_lib.pulsar2.build_config import DEFAULT_TENSORS
from bevformer_lib.pulsar2.subgraph import tensors_between

FLOAT_OPS: Final = frozenset({"LeakyRelu", "Sigmoid", "Relu", "Add", "Mul", "Div", "Sub", "Concat", "Softmax"})
"""Operator types for which FP32 is honoured, as the documentation lists them."""
WEIGHTED_OPS: Final = frozenset({"Conv", "Gemm", "MatMul"})
_MERGED_OPS: Final = frozenset({"Relu", "LeakyRelu", "Add"})
WHOLE_MODEL_U16: Final[Mapping[str, Any]] = MappingProxyType(
    {"start_tensor_names": [DEFAULT_TENSORS], "end_tensor_names": [DEFAULT_TENSORS], "data_type": "U16"}
)
VENDOR_SAMPLES: Final = 64
WIDE_MACS_SHARE: Final = 0.1
"""Largest share of multiply-accumulates that ``mixed`` computes in 16 bits."""

Recipe = Callable[[onnx.GraphProto], dict[str, Any]]
"""Makes the part of a build config that a recipe decides on, for a graph."""


def _vendor_tiny(graph: onnx.GraphProto) -> dict[str, Any]:
    names = float_layers_behind(graph, INPUT_PREV_BEV)
    quant: dict[str, Any] = {
        "calibration_method": "MSE",
        "precision_analysis": True,
        "precision_analysis_method": "EndToEnd",
        "enable_smooth_quant": True,
        "smooth_quant_threshold": 0.15,
        "smooth_quant_strength": 0.5,
        "conv_bias_data_type": "FP32",
        "ln_scale_data_type": "FP32",
    }
    if names:
        quant["layer_configs"] = [{"layer_names": names, "data_type": "FP32"}]
    return {"npu_mode": "NPU3", "quant": quant}


def _int8(graph: onnx.GraphProto) -> dict[str, Any]:
    return {"quant": {"calibration_method": "MinMax", **_ANALYSIS}}


def _w8a16(graph: onnx.GraphProto) -> dict[str, Any]:
    layers: list[dict[str, Any]] = [dict(WHOLE_MODEL_U16)]
    if any(node.op_type == "Conv" for node in graph.node):
        convolutions = {"data_type": "U16", "output_data_type": "U16", "weight_data_type": "S8"}
        layers.append({"op_type": "Conv", **convolutions})
    return {
        "quant": {
            "calibration_method": "MSE",
            "conv_bias_data_type": "FP32",
            "ln_scale_data_type": "FP32",
            "layer_configs": layers,
            **_ANALYSIS,
        }
    }


def _all_u16(graph: onnx.GraphProto) -> dict[str, Any]:
    return {"quant": {"calibration_method": "MinMax", "layer_configs": [dict(WHOLE_MODEL_U16)], **_ANALYSIS}}


def _mixed(graph: onnx.GraphProto) -> dict[str, Any]:
    starts = [value.name for value in graph_inputs(graph) if value.name != INPUT_IMG]
    narrow: list[dict[str, Any]] = [
        {"start_tensor_names": starts, "end_tensor_names": [DEFAULT_TENSORS], "data_type": "U16"}
    ]
    behind = tensors_between(graph, starts, [DEFAULT_TENSORS])
    if any(node.op_type == "Conv" and behind.intersection(node.output) for node in graph.node):
        narrow.append({"op_type": "Conv", "data_type": "U8", "output_data_type": "U8"})
    names = _largest_products(graph, behind)
    if names:
        narrow.append({"layer_names": names, "data_type": "U8"})
    return {"quant": {"calibration_method": "MinMax", "layer_configs": narrow, **_ANALYSIS}}


def _largest_products(graph: onnx.GraphProto, behind: set[str]) -> list[str]:
    """Return the layers behind some inputs that must stay in 8 bits, so that the others keep to their share.

    Of products with weights, those with the fewest outputs are taken into 16 bits first: the decoder's, then those that
    decide where to sample and how to weigh. Those whose shapes are not stated stay in 8 bits.
    """
    shapes = stated_shapes(graph)
    constants = {tensor.name for tensor in graph.initializer}
    left, products = 0.0, []
    for node in graph.node:
        known = shapes.keys() >= {*node.input, *node.output} - {""}
        macs = count_macs(node, shapes) if known else 0
        left += WIDE_MACS_SHARE * macs
        if not behind.intersection(node.output) or node.op_type == "Conv":
            continue
        if node.op_type in WEIGHTED_OPS and constants.intersection(node.input):
            products.append((math.prod(shapes[node.output[0]]) if known else math.inf, macs, node.name))
        else:
            left -= macs
    narrow = set()
    for outputs, macs, name in sorted(products, key=lambda product: product[0]):
        if macs > left or outputs == math.inf:
            narrow.add(name)
        else:
            left -= macs
    return [name for _, _, name in products if name in narrow]


_ANALYSIS: Final[Mapping[str, Any]] = MappingProxyType(
    {"precision_analysis": True, "precision_analysis_method": "EndToEnd"}
)
RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {"vendor-tiny": _vendor_tiny, "int8": _int8, "w8a16": _w8a16, "all-u16": _all_u16, "mixed": _mixed}
)
RECIPE_SAMPLES: Final[Mapping[str, int]] = MappingProxyType({"vendor-tiny": VENDOR_SAMPLES})
"""Recipe -> how many calibration samples it asks for; the others use the whole set."""


def recipe_content(name: str, graph: onnx.GraphProto) -> dict[str, Any]:
    """Return what a recipe sets in the build config of a graph.

    Raises:
        ConversionError: no such recipe.
    """
    if name not in RECIPES:
        raise ConversionError(f"recipe '{name}' is not known; use one of: {', '.join(RECIPES)}")
    return RECIPES[name](graph)


def float_layers_behind(graph: onnx.GraphProto, tensor: str) -> list[str]:
    """Return the names of nodes that depend on ``tensor`` and that the converter can compute in float.

    Nodes that converters merge into the one before are left out, since a name that is gone makes the build fail: a
    bias after a Conv, Gemm or MatMul that nothing else reads, a Relu after either, and the two halves of a Swish.
    """
    names_in_use = Counter(node.name for node in graph.node)
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(value.name for value in graph.output)
    makers = {name: node for node in graph.node for name in node.output}
    merging = _merging_outputs(graph, readers)
    reached, names = {tensor}, []
    for node in graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
            usable = node.op_type in FLOAT_OPS and node.name and names_in_use[node.name] == 1
            if usable and not _may_be_merged(node, makers, readers, merging):
                names.append(node.name)
    return names


def _merging_outputs(graph: onnx.GraphProto, readers: Mapping[str, int]) -> set[str]:
    """Return the tensors whose one reader may be merged: of weighted operators, and of biases merged into them."""
    constants = {tensor.name for tensor in graph.initializer}
    merging: set[str] = set()
    for node in graph.node:
        biased = node.op_type == "Add" and merging.intersection(node.input) and constants.intersection(node.input)
        if node.op_type in WEIGHTED_OPS or biased:
            merging.update(name for name in node.output if readers[name] == 1)
    return merging


def _may_be_merged(
    node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], readers: Mapping[str, int], merging: Collection[str]
) -> bool:
    if node.op_type in _MERGED_OPS:
        sources = [name for name in node.input if name in merging]
        return any(node.op_type != "Add" or makers[name].op_type in WEIGHTED_OPS for name in sources)
    if node.op_type == "Mul":
        sources = [makers[name] for name in node.input if name in makers]
        return any(maker.op_type == "Sigmoid" and maker.input[0] in node.input for maker in sources)
    if node.op_type == "Sigmoid":
        return readers[node.input[0]] > 1
    return False
