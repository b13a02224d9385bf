"""The stand-in's own table of operators, apart from the product's: what builds, what ends a build, what builds wrongly.

Transcribed from the vendor's list for AX650 and from what third parties published of builds with 6.0 and 7.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OCM = 3_141_632
BUILDS = {
    *("Abs", "Add", "And", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat"),
    *("Constant", "ConstantOfShape", "Conv", "ConvTranspose", "Cos", "DepthToSpace", "Div", "Elu", "Equal", "Erf"),
    *("Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm"),
    *("GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "GridSample", "GroupNormalization"),
    *("HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LSTM", "LayerNormalization", "LeakyRelu"),
    *("Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max", "MaxPool", "Min", "Mish", "Mul", "Neg", "Not"),
    *("PRelu", "Pad", "Pow", "RMSNormalization", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"),
    *("Relu", "Reshape", "Resize", "RoiAlign", "Round", "ScatterElements", "ScatterND", "Sigmoid", "Silu", "Sin"),
    *("Slice", "Softmax", "Softplus", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Tile", "TopK"),
    *("Transpose", "Unsqueeze", "Where"),
}
FAILS: Mapping[str, str] = {
    "Xor": "KeyError: 'Xor'",
    "Swish": "RuntimeError: get opr failed, type [Swish]",
    "RotaryEmbedding": "RuntimeError: build of op type [RotaryEmbedding] failed",
    "InverseSigmoid": "RuntimeError: pyrun failed",
    "LpNormalization": "RuntimeError: internal error",
    "SpatialTransformer": "IndexError: list index out of range",
}
LEFT_TO_DEFAULT: Mapping[str, tuple[str, ...]] = {
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "TopK": ("largest", "sorted"),
}
REDUCES = frozenset({"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2"})
ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})


class Graph:
    """A float graph with its shapes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        self.nodes = model.graph.node
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.constant_names = set(self.constants) | {
            name for node in self.nodes if node.op_type == "Constant" for name in node.output
        }
        self.outputs = {value.name for value in model.graph.output}
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
        self.types: dict[str, int] = {}
        for value in (*inferred.input, *inferred.value_info, *inferred.output):
            self.types[value.name] = value.type.tensor_type.elem_type
            if value.type.tensor_type.HasField("shape"):
                self.shapes[value.name] = [size.dim_value for size in value.type.tensor_type.shape.dim]


def refusal(model: onnx.ModelProto) -> str | None:
    """Return what a build of this graph ends with, or ``None``."""
    graph = Graph(model)
    for node in graph.nodes:
        if node.domain not in ("", "ai.onnx") or (node.op_type not in BUILDS and node.op_type not in FAILS):
            return f"KeyError: 'dont support {node.op_type} opr in AXOPS/ONNXOPS/CUSTOM_OPS'"
    for node in graph.nodes:
        if node.op_type in FAILS:
            return FAILS[node.op_type]
        for check in CHECKS:
            said = check(node, graph)
            if said is not None:
                return f"{said}, op [{node.name}], type [{node.op_type}]"
    return None


def _attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def _squeeze(node: onnx.NodeProto, graph: Graph) -> str | None:
    readers = [reader.op_type for reader in graph.readers.get(node.output[0], ())]
    return "ZeroDivisionError: division by zero" if node.op_type == "Squeeze" and readers != ["Relu"] else None


def _default(node: onnx.NodeProto, graph: Graph) -> str | None:
    given = _attributes(node)
    absent = [name for name in LEFT_TO_DEFAULT.get(node.op_type, ()) if name not in given]
    return f"TypeError: {absent[0]} must be real number, not NoneType" if absent else None


def _rank(node: onnx.NodeProto, graph: Graph) -> str | None:
    for name in node.output:
        rank = len(graph.shapes.get(name, [1, 1]))
        if rank == 0 and name not in graph.constant_names and graph.types.get(name) == TensorProto.FLOAT:
            return "RuntimeError: zero-dimensional tensor (at position 0) cannot be concatenated"
        if rank == 1 and node.op_type in ARITHMETIC and name not in graph.constant_names:
            return "TileFailException: tuple index out of range"
    return None


def _live(node: onnx.NodeProto, graph: Graph) -> str | None:
    if node.op_type == "Gemm":
        given = _attributes(node)
        if given.get("alpha", 1.0) != 1.0 or given.get("beta", 1.0) != 1.0:
            return "KeyError: AxQuantizedGemm"
    if node.op_type not in ("Gemm", "Conv") or node.input[1] in graph.constant_names:
        return None
    if node.op_type == "Conv":
        return "RuntimeError: AxQuantizedActWeightConv shapefn failed"
    return "NotImplementedError: Should fuse Gemm (two non-parameter inputs) to MatMul."


def _bias(node: onnx.NodeProto, graph: Graph) -> str | None:
    for bias, product in (node.input, reversed(node.input)) if node.op_type == "Add" else ():
        maker = graph.makers.get(product)
        if (
            bias in graph.constant_names
            and len(graph.shapes.get(bias, ())) == 1
            and maker is not None
            and maker.op_type == "MatMul"
            and not graph.constant_names.intersection(maker.input)
        ):
            return "ValueError: The truth value of an array with more than one element is ambiguous"
    return None


def _gather(node: onnx.NodeProto, graph: Graph) -> str | None:
    shape = graph.shapes.get(node.input[0]) if node.op_type == "Gather" else None
    if shape is None:
        return None
    axis = int(_attributes(node).get("axis", 0)) % len(shape)  # type: ignore[call-overload]
    last = axis == len(shape) - 1
    if len(shape) > 2 and not last:
        return "NPUBackendError: build failed"
    count = math.prod(graph.shapes.get(node.input[1], [1]))
    lane = 16 if last and len(shape) > 1 else min(math.prod(shape) // shape[axis], 4096) * 4
    needed = (shape[axis] + count) * lane + 4 * count
    return f"AssertionError: job io size > ocm size, AxGather\n    {needed} > {OCM}" if needed > OCM else None


def _factor(node: onnx.NodeProto, graph: Graph) -> str | None:
    factors = node.input if node.op_type == "Mul" else node.input[1:] if node.op_type == "Div" else ()
    ones = [name for name in factors if name in graph.constants and math.prod(graph.shapes[name]) == 1]
    ones = [name for name in ones if float(numpy_helper.to_array(graph.constants[name]).reshape(())) == 1.0]
    return "KeyError: Seems config of input(y) doesn't exist" if ones and node.output[0] in graph.outputs else None


def _transposed(node: onnx.NodeProto, graph: Graph) -> str | None:
    given = _attributes(node)
    plain = all(np.all(np.asarray(given.get(name, 1)) == 1) for name in ("strides", "dilations", "group"))
    return "RuntimeError: Op Execution Error" if node.op_type == "ConvTranspose" and plain else None


CHECKS: tuple[Callable[[onnx.NodeProto, Graph], str | None], ...] = (
    *(_squeeze, _default, _rank, _live, _bias, _gather, _factor, _transposed),
)


def as_computed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph that the card computes: reductions that name no axes reduce the last one only."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    changed = False
    for node in result.graph.node:
        given = _attributes(node)
        if node.op_type not in REDUCES or "axes" in given or (len(node.input) > 1 and node.input[1]):
            continue
        changed = True
        if "axes" in onnx.defs.get_schema(node.op_type, opset).attributes:
            node.attribute.append(helper.make_attribute("axes", [-1]))
        else:
            result.graph.initializer.append(numpy_helper.from_array(np.asarray([-1]), f"{node.output[0]}.axes"))
            del node.input[1:]
            node.input.append(f"{node.output[0]}.axes")
    if changed:
        del result.graph.value_info[:]
    return result
