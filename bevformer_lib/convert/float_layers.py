"""Layers that stay in float in a quantised graph.

A kept layer reads its input as it was before it became 8 bits, even where other nodes read the same tensor in 8 bits:

    x -> QuantizeLinear -> DequantizeLinear -+-> other        x -+-> QuantizeLinear -> DequantizeLinear -> other
                                             +-> kept            +-> kept
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

import onnx

from bevformer_lib.convert.selection import Selection
from bevformer_lib.errors import ConversionError
from bevformer_lib.strict_json import read_json

_QUANTIZE: Final = "QuantizeLinear"
_DEQUANTIZE: Final = "DequantizeLinear"


def check_kept(selection: Selection, kept: Iterable[str]) -> None:
    """Refuse names that would have no effect.

    Raises:
        ConversionError: with the names that are no quantised layers.
    """
    layers = set(selection.layers)
    unknown = sorted(name for name in kept if name not in layers)
    if unknown:
        raise ConversionError(
            f"these are not among the layers that would be quantised, so they can't be kept: {', '.join(unknown)}; "
            "give names of Conv, Gemm or MatMul nodes of this model"
        )


def read_kept(path: Path) -> tuple[str, ...]:
    """Read a JSON list of layers.

    Raises:
        ConversionError: the file can't be read, or is no list of names.
    """
    try:
        names = read_json(path)
    except (OSError, ValueError) as error:
        raise ConversionError(f"{path}: can't be read as JSON ({error})") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConversionError(f'{path}: must be a list of layer names, such as ["/img_backbone/conv1/Conv"]')
    return tuple(names)


def restore_kept_inputs(quantized: onnx.ModelProto, kept: Collection[str]) -> None:
    """Let kept layers of a graph in QDQ form read float tensors, in place.

    Args:
        quantized: the quantised graph, in which the kept layers themselves were not quantised.
        kept: names of the kept layers.
    """
    graph = quantized.graph
    producers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.name in kept:
            node.input[0] = _before_quantization(node.input[0], producers)
    _remove_unread_pairs(graph)


def _before_quantization(tensor: str, producers: Mapping[str, onnx.NodeProto]) -> str:
    """Return the tensor that a pair of QuantizeLinear and DequantizeLinear made ``tensor`` of, or ``tensor``."""
    dequantize = producers.get(tensor)
    if dequantize is None or dequantize.op_type != _DEQUANTIZE:
        return tensor
    quantize = producers.get(dequantize.input[0])
    return tensor if quantize is None or quantize.op_type != _QUANTIZE else quantize.input[0]


def _remove_unread_pairs(graph: onnx.GraphProto) -> None:
    """Remove pairs that are no longer read, and their constants."""
    for op in (_DEQUANTIZE, _QUANTIZE):
        reads = Counter(name for node in graph.node for name in node.input)
        reads.update(output.name for output in graph.output)
        for node in [node for node in graph.node if node.op_type == op and not reads[node.output[0]]]:
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for constant in [constant for constant in graph.initializer if constant.name not in used]:
        graph.initializer.remove(constant)
