"""A plan written into the graph: every rounding is a QuantizeLinear and a DequantizeLinear.

    node -> t                      node -> t.exact -> QuantizeLinear -> DequantizeLinear -> t
    t -> MatMul of live tensors    t -> QuantizeLinear -> DequantizeLinear -> t.S8 -> MatMul

Between them the operators compute in float32 on what the codes stand for, as the NPU's wide accumulators do. ONNX
Runtime must not replace such groups by its own integer kernels, whose arithmetic is another: the graph's metadata says
so, and :class:`~bevformer_lib.runtime.onnxruntime.OnnxRuntime` heeds it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper, version_converter

from bevformer_lib.emulator.formats import FORMATS, Quantization
from bevformer_lib.emulator.operators import MAY_BE_UNDEFINED
from bevformer_lib.emulator.plan import Plan
from bevformer_lib.export.graph import default_opset, drop_unused_nodes
from bevformer_lib.runtime.model_metadata import KEEP_ROUNDING

OPSET_OF_16_BITS: Final = 21
"""First operator set whose QuantizeLinear knows 16 bits."""
_IR_OF_16_BITS: Final = 10
_RUNTIME_DOMAIN: Final = "com.microsoft"
"""Has such a QuantizeLinear too, for graphs that can't be brought to that operator set."""


def write_plan(model: onnx.ModelProto, plan: Plan) -> onnx.ModelProto:
    """Return a copy of a graph with rounded constants that rounds its activations as planned."""
    wide = any(
        FORMATS[quantization.format].bits > 8 for quantization in (*plan.outputs.values(), *plan.readings.values())
    )
    result, domain = _at_opset_of(model, wide)
    writer = _Writer(result.graph, domain)
    writer.round_inputs(plan)
    for node in list(result.graph.node):
        writer.add(node, plan)
    del result.graph.node[:]
    result.graph.node.extend(writer.nodes)
    drop_unused_nodes(result.graph)
    del result.graph.value_info[:]
    result.metadata_props.add(key=KEEP_ROUNDING, value="1")
    return result


def _at_opset_of(model: onnx.ModelProto, wide: bool) -> tuple[onnx.ModelProto, str]:
    """Return a copy that may hold the wanted formats, and the domain of its QuantizeLinear."""
    if wide and default_opset(model) < OPSET_OF_16_BITS:
        # The converter of versions raises whatever its native code does.
        try:
            converted = version_converter.convert_version(model, OPSET_OF_16_BITS)
        except Exception:
            copy = onnx.ModelProto()
            copy.CopyFrom(model)
            copy.opset_import.append(helper.make_opsetid(_RUNTIME_DOMAIN, 1))
            return copy, _RUNTIME_DOMAIN
        converted.ir_version = max(converted.ir_version, _IR_OF_16_BITS)
        return converted, ""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy, ""


class _Writer:
    """Collects the nodes of the rounding graph in order."""

    def __init__(self, graph: onnx.GraphProto, domain: str) -> None:
        self._graph = graph
        self._domain = domain
        self._constants: set[str] = set()
        self._renamed: dict[str, str] = {}
        self._rounded: dict[tuple[str, Quantization], str] = {}
        self.nodes: list[onnx.NodeProto] = []

    def round_inputs(self, plan: Plan) -> None:
        for value in self._graph.input:
            if value.name in plan.outputs:
                self._renamed[value.name] = f"{value.name}.rounded"
                self._round(value.name, self._renamed[value.name], plan.outputs[value.name])

    def add(self, node: onnx.NodeProto, plan: Plan) -> None:
        """Take over a node with the roundings before and behind it."""
        key = node.output[0]
        for slot, name in enumerate(node.input):
            tensor = self._renamed.get(name, name)
            quantization = plan.readings.get((key, slot))
            if quantization is not None:
                place = (tensor, quantization)
                if place not in self._rounded:
                    taken = sum(other == tensor for other, _ in self._rounded)
                    self._rounded[place] = f"{tensor}.{quantization.format}" + (f".{taken}" if taken else "")
                    self._round(tensor, self._rounded[place], quantization)
                tensor = self._rounded[place]
            node.input[slot] = tensor
        self.nodes.append(node)
        for index, name in enumerate(node.output):
            if name in plan.outputs:
                exact = node.output[index] = f"{name}.exact"
                if node.op_type in MAY_BE_UNDEFINED:
                    exact = self._saturate(exact, plan.outputs[name])
                self._round(exact, name, plan.outputs[name])

    def _saturate(self, tensor: str, quantization: Quantization) -> str:
        """Put the end of the range that is farther from 0 in the place of NaN."""
        ends = quantization.smallest, quantization.largest
        end = self._constant(f"{tensor}.end", np.float32(max(ends, key=abs)))
        self._node("IsNaN", [tensor], f"{tensor}.undefined")
        self._node("Where", [f"{tensor}.undefined", end, tensor], f"{tensor}.defined")
        return f"{tensor}.defined"

    def _round(self, tensor: str, rounded: str, quantization: Quantization) -> None:
        known = FORMATS[quantization.format]
        if (quantization.low, quantization.high) != (known.low, known.high):
            ends = np.float32(quantization.smallest), np.float32(quantization.largest)
            names = [self._constant(f"{rounded}.{side}", end) for side, end in zip(("low", "high"), ends, strict=True)]
            self._node("Clip", [tensor, *names], f"{rounded}.clipped")
            tensor = f"{rounded}.clipped"
        element_type = helper.tensor_dtype_to_np_dtype(known.element_type)
        zero_point = self._constant(
            f"zero_point.{known.name}.{quantization.zero_point}", np.array(quantization.zero_point, element_type)
        )
        scale = self._constant(f"{rounded}.scale", np.float32(quantization.scale))
        # A scale of 0 can't divide; what was never seen but 0 comes out as 0 all the same.
        divisor = scale if quantization.scale else self._constant("scale.one", np.float32(1))
        self._node("QuantizeLinear", [tensor, divisor, zero_point], f"{rounded}.codes", self._domain)
        self._node("DequantizeLinear", [f"{rounded}.codes", scale, zero_point], rounded, self._domain)

    def _node(self, kind: str, inputs: list[str], output: str, domain: str = "") -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}.{kind}", domain=domain))

    def _constant(self, name: str, value: np.generic | np.ndarray) -> str:
        if name not in self._constants:
            self._constants.add(name)
            self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name
