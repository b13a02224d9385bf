"""Batch normalisation after a product with a constant matrix goes into the matrix and a bias.

A deformable convolution ends in such a product; simplifiers merge batch normalisation into ``Conv`` only.

before::

    y = MatMul(w, x)                                            # w: (64, 576) constant, x: (6, 576, 375)
    z = BatchNormalization(Reshape(y, [6, -1, 15, 25]), scale, bias, mean, var)

after::

    y = Add(MatMul(w', x), b')                                  # w': w * g per row, b': (64, 1)
    z = Reshape(y, [6, -1, 15, 25])

with g = scale / sqrt(var + epsilon) and b' = bias - mean * g (ONNX standard, BatchNormalization), computed in float64.
The ``Reshape`` may be missing, and must keep the first two axes. Where another node reads what lies between the
product and the normalisation, the place is refused: its values change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from bevformer_lib.export.graph import (
    STANDARD_DOMAINS,
    StaticShape,
    attributes,
    drop_unused_nodes,
    node_label,
    read_tensors,
    static_shapes,
    without_large_weights,
)
from bevformer_lib.export.passes.base import PassResult, Refusal

_DEFAULT_EPSILON: Final = 1e-5


@dataclass(frozen=True)
class _Chain:
    """A product, the reshaping behind it (if any) and the normalisation, as positions in the graph."""

    matmul: int
    reshape: int | None
    norm: int


@dataclass(frozen=True)
class _Facts:
    """What a match has to know of the graph."""

    nodes: list[onnx.NodeProto]
    producers: Mapping[str, int]
    readers: Mapping[str, int]
    constants: Mapping[str, onnx.TensorProto]
    shapes: Mapping[str, StaticShape]


def apply(model: onnx.ModelProto) -> PassResult:
    """Merge every batch normalisation that follows a product with a constant matrix."""
    candidates = [index for index, node in enumerate(model.graph.node) if _is(node, "BatchNormalization")]
    if not candidates:
        return PassResult(model, 0)
    facts = _facts(model)
    chains: list[_Chain] = []
    refusals: list[Refusal] = []
    for index in candidates:
        node = model.graph.node[index]
        try:
            chains.append(_match(index, facts))
        except ValueError as reason:
            refusals.append(Refusal(node_label(node), node.op_type, str(reason)))
    if not chains:
        return PassResult(model, 0, tuple(refusals))
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    for chain in chains:
        _merge(rewritten.graph, chain, facts.constants)
    drop_unused_nodes(rewritten.graph)
    return PassResult(rewritten, len(chains), tuple(refusals))


def _facts(model: onnx.ModelProto) -> _Facts:
    graph = model.graph
    readers: dict[str, int] = {}
    for name in (
        *(value.name for value in graph.output),
        *(name for node in graph.node for name in read_tensors(node)),
    ):
        readers[name] = readers.get(name, 0) + 1
    return _Facts(
        nodes=list(graph.node),
        producers={name: index for index, node in enumerate(graph.node) for name in node.output},
        readers=readers,
        constants={tensor.name: tensor for tensor in graph.initializer},
        shapes=static_shapes(without_large_weights(model)),
    )


def _match(norm: int, facts: _Facts) -> _Chain:
    """Return the chain that ends in a normalisation; raise ``ValueError`` with the reason where it can't be merged."""
    node = facts.nodes[norm]
    if attributes(node).get("training_mode", 0) or len(node.output) != 1:
        raise ValueError("it is in training mode")
    if unknown := [name for name in node.input[1:] if name not in facts.constants]:
        raise ValueError(f"{unknown[0]!r} is no constant")
    before = _producer(node.input[0], facts)
    reshape = before if _is(facts.nodes[before], "Reshape") else None
    matmul = before if reshape is None else _producer(facts.nodes[before].input[0], facts)
    product = facts.nodes[matmul]
    if not _is(product, "MatMul"):
        raise ValueError(f"it follows {node_label(product)!r} ({product.op_type}), no MatMul")
    weight, shape = facts.constants.get(product.input[0]), facts.shapes.get(product.output[0])
    if weight is None or len(weight.dims) != 2:
        raise ValueError(f"the left factor {product.input[0]!r} is no constant matrix")
    if shape is None or len(shape) != 3:
        raise ValueError("the channels are not the rows of the product")
    if reshape is not None and facts.shapes.get(node.input[0], ())[:2] != shape[:2]:
        raise ValueError(f"{node_label(facts.nodes[reshape])!r} does not keep the first two axes")
    return _Chain(matmul, reshape, norm)


def _producer(tensor: str, facts: _Facts) -> int:
    if tensor not in facts.producers:
        raise ValueError(f"it follows {tensor!r}, which no node computes")
    if facts.readers[tensor] > 1:
        raise ValueError(f"{tensor!r} is used elsewhere too")
    return facts.producers[tensor]


def _merge(graph: onnx.GraphProto, chain: _Chain, constants: Mapping[str, onnx.TensorProto]) -> None:
    """Merge one chain in place; the last node of the chain gives what the normalisation gave, under its name."""
    product, norm = graph.node[chain.matmul], graph.node[chain.norm]
    matrix, result = constants[product.input[0]], norm.output[0]
    scale, bias, mean, variance = (_float64(constants[name]) for name in norm.input[1:])
    gain = scale / np.sqrt(variance + attributes(norm).get("epsilon", _DEFAULT_EPSILON))
    weight_name, bias_name = f"{result}_weight", f"{result}_bias"
    for name, value in (
        (weight_name, _float64(matrix) * gain[:, np.newaxis]),
        (bias_name, (bias - mean * gain)[:, np.newaxis]),
    ):
        dtype = onnx.helper.tensor_dtype_to_np_dtype(matrix.data_type)
        graph.initializer.append(numpy_helper.from_array(value.astype(dtype), name))
    product.input[0] = weight_name
    add = onnx.helper.make_node("Add", [product.output[0], bias_name], [result], norm.name)
    if chain.reshape is not None:
        reshape = onnx.NodeProto()
        reshape.CopyFrom(graph.node[chain.reshape])
        _forget(graph, norm.input[0])
        add.output[0] = reshape.input[0] = f"{result}_biased"
        reshape.output[0] = result
        graph.node[chain.reshape].CopyFrom(add)
        norm.CopyFrom(reshape)
    else:
        norm.CopyFrom(add)


def _forget(graph: onnx.GraphProto, tensor: str) -> None:
    for index in reversed(range(len(graph.value_info))):
        if graph.value_info[index].name == tensor:
            del graph.value_info[index]


def _is(node: onnx.NodeProto, operator: str) -> bool:
    return node.op_type == operator and node.domain in STANDARD_DOMAINS


def _float64(tensor: onnx.TensorProto) -> NDArray[Any]:
    return numpy_helper.to_array(tensor).astype(np.float64)
