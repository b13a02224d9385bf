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

from tests.standins.pulsar2.personality import AS_SEEN

DOCUMENTED_FLOAT = {"LeakyRelu", "Sigmoid", "Relu", "Add", "Mul", "Div", "Sub", "Concat", "Softmax"}
FLOAT_OPS = (DOCUMENTED_FLOAT - {"Softmax"}) | {"MatMul", "Sqrt", "ReduceSum", "Neg"} if AS_SEEN else DOCUMENTED_FLOAT
FLOAT_FAILS = {
    "LayerNormalization": "TileFailException: AxLayerNorm",
    "Erf": "RuntimeError: dont support lut_float",
    "AveragePool": "TypeError: unsupported operand type(s)",
}
PASSIVE = {"Reshape", "Transpose"}
SHRUNK = {"Percentile": 0.9} if AS_SEEN else {"Percentile": 0.9, "MSE": 0.97, "KL": 0.95}
"""Calibration method -> share of the range that it keeps; the others keep all of it."""
WEIGHTED = {"Conv": 0, "Gemm": None, "MatMul": -1}
RANGES = {"U8": (0, 255), "S8": (-128, 127), "U16": (0, 65535), "S16": (-32768, 32767)}
NUMPY = {"U8": np.uint8, "S8": np.int8, "U16": np.uint16, "S16": np.int16}
QUANTIZER_DOMAIN = "com.microsoft"


class PrecisionFailsError(Exception):
    """A type that was asked for ends the build."""


class UnknownLayerError(Exception):
    """A layer config names an operator that is not there after fusion."""


@dataclass(frozen=True)
class Fused:
    """A node after fusion, with what was merged into it."""

    node: onnx.NodeProto
    name: str
    kind: str
    output: str


@dataclass(frozen=True)
class Operator:
    """An operator after fusion: a node, with the Relu that was merged into it."""

    name: str
    kind: str
    output: str
    quantized: str


def fuse(graph: onnx.GraphProto) -> list[Fused]:
    """Return the operators that remain: a Relu after a Conv or Gemm is merged into it.

    As seen from 6 on, a MatMul of a constant becomes a FullyConnected with a name of its own, with its bias of one
    axis, and so does a Gemm; a Sigmoid and the Mul of its input with it become a Silu.
    """
    uses: dict[str, int] = {}
    readers: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
            readers[name] = node
    for value in graph.output:
        uses[value.name] = uses.get(value.name, 0) + 1
    constants = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    merged: set[str] = set()
    kept: list[Fused] = []

    def follows(output: str, kind: str) -> onnx.NodeProto | None:
        reader = readers.get(output)
        return reader if reader is not None and uses[output] == 1 and reader.op_type == kind else None

    for node in graph.node:
        if node.output[0] in merged:
            continue
        name, kind, output = node.name, node.op_type, node.output[0]
        weighted = node.op_type in ("MatMul", "Gemm") and node.input[1] in constants
        if AS_SEEN and weighted:
            name, kind = f"op_{len(kept)}:{node.name}", "onnx.FullyConnected"
            add = follows(output, "Add")
            if add is not None and any(constants.get(other) == 1 for other in add.input):
                output = add.output[0]
                merged.add(output)
        elif AS_SEEN and node.op_type == "Sigmoid":
            product = follows(output, "Mul")
            if product is not None and node.input[0] in product.input:
                name, kind, output = f"op_{len(kept)}:{node.name}", "onnx.Silu", product.output[0]
                merged.add(output)
        relu = follows(output, "Relu")
        if node.op_type in ("Conv", "Gemm") and relu is not None:
            output = relu.output[0]
            merged.add(output)
        kept.append(Fused(node, name, kind, output))
    return kept


def fused_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph after fusion, as it is saved; it can't be run."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    for fused in fuse(model.graph):
        kept = result.graph.node.add()
        kept.CopyFrom(fused.node)
        kept.name = fused.name
        kept.output[0] = fused.output
    return result


def built_types(config: dict[str, Any], graph: onnx.GraphProto) -> list[Operator]:
    """Decide the type of every operator: by name before by type before by subgraph."""
    fused = fuse(graph)
    names = {each.name for each in fused}
    requests = config["quant"].get("layer_configs", ())
    for entry in requests:
        for name in [entry["layer_name"]] if entry.get("layer_name") else entry.get("layer_names", ()):
            if name not in names:
                raise UnknownLayerError(name)
    chosen = {each.name: _chosen(each, requests, graph) for each in fused}
    if AS_SEEN:
        force_by_the_end(fused, chosen, {value.name for value in graph.output})
        signed = _signed_operands(graph)
        for each in fused:
            if each.output in signed:
                chosen[each.name] = {"U8": "S8", "U16": "S16"}.get(chosen[each.name], chosen[each.name])
    return [Operator(each.name, each.kind, each.output, chosen[each.name]) for each in fused]


def _chosen(fused: Fused, requests: Any, graph: onnx.GraphProto) -> str:
    chosen, rank = "U8", 0
    node = fused.node
    for entry in requests:
        layers = [entry["layer_name"]] if entry.get("layer_name") else entry.get("layer_names", [])
        # Types after fusion are no types that it looks for, and it says nothing of them.
        kinds = [entry["op_type"]] if entry.get("op_type") else entry.get("op_types", [])
        place = 3 if fused.name in layers else 2 if node.op_type in kinds else 0
        if not layers and not kinds and _inside(graph, entry, fused.output):
            place = 1
        kind = entry.get("data_type", "U8")
        if node.op_type == "Conv":
            kind = entry.get("output_data_type", kind)
        if AS_SEEN and kind == "FP32" and place > 1 and node.op_type in FLOAT_FAILS:
            raise PrecisionFailsError(FLOAT_FAILS[node.op_type])
        honoured = (
            kind != "FP32"
            or node.op_type in FLOAT_OPS
            or (node.op_type == "Conv" and entry.get("output_data_type") == "FP32")
        )
        if place >= max(rank, 1) and honoured:
            chosen, rank = kind, place
    return chosen


def force_by_the_end(fused: list[Fused], chosen: dict[str, str], outputs: set[str]) -> None:
    """Give an operator 8 bits where nothing but Reshape and Transpose in 8 bits is between it and the outputs.

    That was seen behind the last operators of graphs only: one in mid-graph forces nothing.
    """
    trailing: dict[str, bool] = {}
    for each in reversed(fused):
        readers = [trailing[other.name] for other in fused if each.output in other.node.input]
        ends = all(readers) if readers else each.output in outputs
        if readers and ends and each.output not in outputs and chosen[each.name] in ("U16", "S16"):
            chosen[each.name] = "U8"
        trailing[each.name] = ends and each.node.op_type in PASSIVE and chosen[each.name] == "U8"


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


def with_rounded_constants(model: onnx.ModelProto, operators: list[Operator]) -> onnx.ModelProto:
    """Return the graph that calibration runs, as seen: weights and constants of arithmetic are rounded already."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    constants = {tensor.name: tensor for tensor in result.graph.initializer}
    biases = {
        name for fused in fuse(model.graph) if fused.kind == "onnx.FullyConnected" for name in _merged(fused, model)
    }
    built = {operator.name: operator.quantized for operator in operators}
    kinds = {fused.node.name: built[fused.name] for fused in fuse(model.graph)}
    for node in result.graph.node:
        kind = {"S8": "U8", "S16": "U16"}.get(kinds.get(node.name, "U8"), kinds.get(node.name, "U8"))
        for slot, name in enumerate(node.input):
            tensor = constants.get(name)
            if tensor is None or tensor.data_type != TensorProto.FLOAT:
                continue
            values = numpy_helper.to_array(tensor)
            first_of_product = node.op_type == "MatMul" and slot == 0
            if node.op_type in WEIGHTED and values.ndim > 1 and (slot == 1 or first_of_product):
                axis = values.ndim - 2 if first_of_product else _channel_axis(node) % values.ndim
                others = tuple(place for place in range(values.ndim) if place != axis)
                shape = [-1 if place == axis else 1 for place in range(values.ndim)]
                scale = (np.abs(values).max(axis=others) / np.float32(127.5)).reshape(shape)
                rounded = np.clip(np.rint(values / np.maximum(scale, 1e-12)), -128, 127) * scale
            elif node.op_type in ("Add", "Sub", "Mul", "Div") and name not in biases and kind != "FP32":
                low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
                step, zero = scale_and_zero(low, high, kind)
                codes = np.clip(np.rint(values / np.float32(step)) + zero, 0, RANGES[kind][1])
                rounded = (codes - zero) * np.float32(step)
            else:
                continue
            # Each reader rounds it its own way.
            node.input[slot] = f"{name}.{node.output[0]}.{slot}"
            result.graph.initializer.append(numpy_helper.from_array(rounded.astype(np.float32), node.input[slot]))
    return result


def _merged(fused: Fused, model: onnx.ModelProto) -> list[str]:
    return [
        name
        for node in model.graph.node
        if node.op_type == "Add" and fused.output in node.output
        for name in node.input
    ]


def _channel_axis(node: onnx.NodeProto) -> int:
    axis = WEIGHTED[node.op_type]
    if axis is None:
        return 0 if any(entry.name == "transB" and entry.i for entry in node.attribute) else 1
    return axis


def _signed_operands(graph: onnx.GraphProto) -> set[str]:
    """Return the tensors that only products of two computed tensors read, directly or behind a Reshape or Transpose."""
    live = {value.name for value in graph.input} | {name for node in graph.node for name in node.output}
    live -= {tensor.name for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    signed: set[str] = set()
    for node in reversed(graph.node):
        for name in node.output:
            read = readers.get(name, [])
            if (
                read
                and name not in outputs
                and all(
                    (one.op_type == "MatMul" and live.issuperset(one.input))
                    or (one.op_type in PASSIVE and signed.issuperset(one.output))
                    for one in read
                )
            ):
                signed.add(name)
    return signed


def calibrate(
    model: onnx.ModelProto,
    samples: list[dict[str, np.ndarray]],
    operators: list[Operator],
    progress: Any,
    method: str = "MinMax",
) -> dict[str, Any]:
    """Return (lowest, highest) of every float32 tensor over the samples, as the method has them."""
    ranges: dict[str, tuple[float, float]] = {}
    if AS_SEEN:
        model = with_rounded_constants(model, operators)
    for number, sample in enumerate(samples, 1):
        for name, array in all_tensors(model, sample).items():
            if array.dtype == np.float32 and array.size:
                low, high = ranges.get(name, (0.0, 0.0))
                ranges[name] = (min(low, float(array.min())), max(high, float(array.max())))
        progress(number, len(samples))
    share = SHRUNK.get(method, 1.0)
    return {name: (share * low, share * high) for name, (low, high) in ranges.items()}


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


def scale_and_zero(low: float, high: float, kind: str) -> tuple[float, int]:
    """Return scale and zero point of a range in a type."""
    smallest, largest = RANGES[kind]
    if smallest < 0:
        return max(max(abs(low), abs(high)) / ((largest - smallest) / 2), 1e-12), 0
    scale = max((high - low) / (largest - smallest), 1e-12)
    return scale, int(np.clip(round(smallest - low / scale), smallest, largest))


def _quantizer(
    graph: onnx.GraphProto, name: str, kind: str, ranges: dict[str, Any], replaced: dict[str, str]
) -> list[onnx.NodeProto]:
    low, high = ranges[name]
    scale, zero = scale_and_zero(low, high, kind)
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


def weight_scales(weight: np.ndarray, node: onnx.NodeProto) -> list[float]:
    """Return one scale per output channel."""
    others = tuple(place for place in range(weight.ndim) if place != _channel_axis(node) % weight.ndim)
    return [float(scale) for scale in np.abs(weight).max(axis=others) / np.float32(127.5)]


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
