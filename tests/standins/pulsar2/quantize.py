"""The stand-in's quantiser: every float tensor passes a quantiser of the type that the config leads to.

What the real tool drops without a word is dropped here too: types that the graph has not after fusion, and FP32 for
operators that can't be float.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

FLOAT_OPS = {"LeakyRelu", "Sigmoid", "Relu", "Add", "Mul", "Div", "Sub", "Concat", "Softmax"}
WEIGHTED = {"Conv": 0, "Gemm": None, "MatMul": -1}
RANGES = {"U8": (0, 255), "S8": (-128, 127), "U16": (0, 65535), "S16": (-32768, 32767)}
NUMPY = {"U8": np.uint8, "S8": np.int8, "U16": np.uint16, "S16": np.int16}
QUANTIZER_DOMAIN = "com.microsoft"


class UnknownLayerError(Exception):
    """A layer config names an operator that is not there after fusion."""


@dataclass(frozen=True)
class Operator:
    """An operator after fusion: a node, with the Relu that was merged into it."""

    name: str
    kind: str
    output: str
    quantized: str


def fuse(graph: onnx.GraphProto) -> list[tuple[onnx.NodeProto, str]]:
    """Return the nodes that remain, each with its output; a Relu after a Conv or Gemm is merged into it."""
    uses: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    for value in graph.output:
        uses[value.name] = uses.get(value.name, 0) + 1
    relus = {node.input[0]: node for node in graph.node if node.op_type == "Relu"}
    merged: set[str] = set()
    kept = []
    for node in graph.node:
        if node.output[0] in merged:
            continue
        relu = relus.get(node.output[0])
        if node.op_type in ("Conv", "Gemm") and relu is not None and uses[node.output[0]] == 1:
            merged.add(relu.output[0])
            kept.append((node, relu.output[0]))
        else:
            kept.append((node, node.output[0]))
    return kept


def fused_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph after fusion, as it is saved; it can't be run."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    for node, output in fuse(model.graph):
        kept = result.graph.node.add()
        kept.CopyFrom(node)
        kept.output[0] = output
    return result


def built_types(config: dict[str, Any], graph: onnx.GraphProto) -> list[Operator]:
    """Decide the type of every operator: by name before by type before by subgraph."""
    fused = fuse(graph)
    names = {node.name for node, _ in fused}
    requests = config["quant"].get("layer_configs", ())
    for entry in requests:
        for name in [entry["layer_name"]] if entry.get("layer_name") else entry.get("layer_names", ()):
            if name not in names:
                raise UnknownLayerError(name)
    operators = []
    for node, output in fused:
        chosen, rank = "U8", 0
        for entry in requests:
            layers = [entry["layer_name"]] if entry.get("layer_name") else entry.get("layer_names", [])
            kinds = [entry["op_type"]] if entry.get("op_type") else entry.get("op_types", [])
            place = 3 if node.name in layers else 2 if node.op_type in kinds else 0
            if not layers and not kinds and _inside(graph, entry, output):
                place = 1
            kind = entry.get("data_type", "U8")
            if node.op_type == "Conv":
                kind = entry.get("output_data_type", kind)
            honoured = (
                kind != "FP32"
                or node.op_type in FLOAT_OPS
                or (node.op_type == "Conv" and entry.get("output_data_type") == "FP32")
            )
            if place >= max(rank, 1) and honoured:
                chosen, rank = kind, place
        operators.append(Operator(node.name, node.op_type, output, chosen))
    return operators


def _inside(graph: onnx.GraphProto, entry: dict[str, Any], tensor: str) -> bool:
    starts, ends = entry["start_tensor_names"], entry["end_tensor_names"]
    if starts == ["DEFAULT"] and ends == ["DEFAULT"]:
        return True
    behind, before = set(starts), set(ends)
    for node in graph.node:
        if behind.intersection(node.input):
            behind.update(node.output)
    for node in reversed(graph.node):
        if before.intersection(node.output) and not set(starts).intersection(node.output):
            before.update(node.input)
    return tensor in (behind & before) - set(starts)


def all_tensors(model: onnx.ModelProto, sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a graph and return every tensor of it."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    known = {value.name for value in probed.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in known:
                probed.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(probed.SerializeToString(), options)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, sample), strict=True)) | sample


def calibrate(model: onnx.ModelProto, samples: list[dict[str, np.ndarray]], progress: Any) -> dict[str, Any]:
    """Return (lowest, highest) of every float32 tensor over the samples."""
    ranges: dict[str, tuple[float, float]] = {}
    for number, sample in enumerate(samples, 1):
        for name, array in all_tensors(model, sample).items():
            if array.dtype == np.float32 and array.size:
                low, high = ranges.get(name, (0.0, 0.0))
                ranges[name] = (min(low, float(array.min())), max(high, float(array.max())))
        progress(number, len(samples))
    return ranges


def quantize(model: onnx.ModelProto, operators: list[Operator], ranges: dict[str, Any]) -> onnx.ModelProto:
    """Return the graph with a quantiser behind every float tensor that is not FP32, and 8-bit weights."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    types = {operator.output: operator.quantized for operator in operators}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    inputs = {value.name: "U16" for value in graph.input if value.name not in constants}
    nodes, outputs = [], {value.name for value in graph.output}
    replaced: dict[str, str] = {}
    for name, kind in inputs.items():
        nodes += _quantizer(graph, name, kind, ranges, replaced)
    for node in list(graph.node):
        _quantize_weight(graph, node, constants, nodes, replaced)
        for place, name in enumerate(node.input):
            node.input[place] = replaced.get(name, name)
        nodes.append(node)
        for name in node.output:
            kind = types.get(name, "FP32")
            if kind != "FP32" and name in ranges and name not in outputs:
                nodes += _quantizer(graph, name, kind, ranges, replaced)
    del graph.node[:]
    graph.node.extend(nodes)
    if not any(entry.domain == QUANTIZER_DOMAIN for entry in result.opset_import):
        result.opset_import.append(helper.make_opsetid(QUANTIZER_DOMAIN, 1))
    return result


def _quantizer(
    graph: onnx.GraphProto, name: str, kind: str, ranges: dict[str, Any], replaced: dict[str, str]
) -> list[onnx.NodeProto]:
    low, high = ranges[name]
    smallest, largest = RANGES[kind]
    scale = max((high - low) / (largest - smallest), 1e-12)
    zero = int(np.clip(round(smallest - low / scale), smallest, largest))
    constants = (f"{name}.scale", f"{name}.zero_point")
    graph.initializer.append(numpy_helper.from_array(np.float32(scale).reshape(()), constants[0]))
    graph.initializer.append(numpy_helper.from_array(np.asarray(zero, NUMPY[kind]), constants[1]))
    replaced[name] = f"{name}.dequantized"
    return [
        helper.make_node("QuantizeLinear", [name, *constants], [f"{name}.quantized"], domain=QUANTIZER_DOMAIN),
        helper.make_node(
            "DequantizeLinear", [f"{name}.quantized", *constants], [replaced[name]], domain=QUANTIZER_DOMAIN
        ),
    ]


def _quantize_weight(
    graph: onnx.GraphProto, node: onnx.NodeProto, constants: dict[str, Any], nodes: list[Any], replaced: dict[str, str]
) -> None:
    if node.op_type not in WEIGHTED or len(node.input) < 2 or node.input[1] in replaced:
        return
    tensor = constants.get(node.input[1])
    if tensor is None or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
        return
    weight = numpy_helper.to_array(tensor)
    axis = WEIGHTED[node.op_type]
    if axis is None:
        axis = 0 if any(entry.name == "transB" and entry.i for entry in node.attribute) else 1
    axis %= weight.ndim
    others = tuple(place for place in range(weight.ndim) if place != axis)
    scale = np.maximum(np.abs(weight).max(axis=others) / 127, 1e-12).astype(np.float32)
    shape = [-1 if place == axis else 1 for place in range(weight.ndim)]
    integers = np.clip(np.rint(weight / scale.reshape(shape)), -127, 127).astype(np.int8)
    name = tensor.name
    graph.initializer.remove(tensor)
    for array, suffix in ((integers, "int8"), (scale, "scale"), (np.zeros(scale.shape, np.int8), "zero_point")):
        graph.initializer.append(numpy_helper.from_array(array, f"{name}.{suffix}"))
    replaced[name] = f"{name}.dequantized"
    sources = [f"{name}.{suffix}" for suffix in ("int8", "scale", "zero_point")]
    nodes.append(helper.make_node("DequantizeLinear", sources, [replaced[name]], axis=axis))
