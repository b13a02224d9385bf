"""Why a precision that was asked for was not built: the traps of the converter that others ran into, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import onnx

from bevformer_lib.pulsar2.build_config import MOST_NAMED, LayerConfig
from bevformer_lib.pulsar2.precision import FLOAT, SIGNED, BuiltOperator, governed_operators, is_own
from bevformer_lib.pulsar2.recipes import WEIGHTED_OPS
from bevformer_lib.pulsar2.versions import Dialect

_TRAILING: Final = frozenset({"Reshape", "Transpose"})
"""Operators that were seen to force eight bits on the path to an output that they end."""
_BITS: Final[Mapping[str, int]] = {"U8": 8, "S8": 8, "U16": 16, "S16": 16, FLOAT: 32}


def knob_findings(
    requests: Sequence[LayerConfig], built: Sequence[BuiltOperator], graph: onnx.GraphProto, dialect: Dialect
) -> list[str]:
    """Name the known reason behind every request that was not granted.

    Args:
        requests: ``layer_configs``.
        built: the operators as built, by the quantiser's record.
        graph: the float graph, which has the types of operators and who reads what.
        dialect: of the converter's version.
    """
    around = _Around(graph, built)
    findings: list[str] = []
    for place, (request, governed) in enumerate(zip(requests, governed_operators(requests, built, graph), strict=True)):
        wanted = request.output_data_type or request.data_type
        if wanted is None:
            continue
        what = f"layer_configs.{place}"
        short = [operator for operator in governed if _bits(operator.quantized_dtype) < _bits(wanted)]
        findings += around.floats_without_effect(what, wanted, governed, dialect)
        findings += around.missed_biases(what, wanted, request, governed)
        if len(short) < len(governed):  # granted elsewhere, so it was heard
            findings += around.forced_by_the_end(what, short)
        others = [operator for operator in governed if is_own(operator) and operator.quantized_dtype != wanted]
        if wanted in SIGNED and others:
            more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
            named = ", ".join(f"'{one.operator}', which is {one.quantized_dtype}" for one in others[:MOST_NAMED])
            findings.append(f"{what}: {wanted} not granted at {named}{more}")
        findings += around.failing_floats(what, wanted, governed, dialect)
    return findings


class _Around:
    """The float graph by name and tensor, and what was built of it."""

    def __init__(self, graph: onnx.GraphProto, built: Sequence[BuiltOperator]) -> None:
        self._types = {operator.operator: operator.quantized_dtype for operator in built}
        self._nodes = {node.name: node for node in graph.node if node.name}
        self._constants = {tensor.name for tensor in graph.initializer}
        self._outputs = {value.name for value in graph.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def _kind(self, operator: BuiltOperator) -> str:
        node = self._nodes.get(operator.operator)
        return node.op_type if node is not None else ""

    def _read_by(self, operator: BuiltOperator) -> list[onnx.NodeProto]:
        node = self._nodes.get(operator.operator)
        names = {operator.tensor, *(node.output if node is not None else ())}
        return [reader for name in names for reader in self._readers.get(name, ()) if reader is not node]

    def floats_without_effect(
        self, what: str, wanted: str, governed: Sequence[BuiltOperator], dialect: Dialect
    ) -> list[str]:
        """FP32 that a Softmax did not get, or that was seen to have no effect on operators of the type."""
        findings = []
        for operator in governed if wanted == FLOAT else ():
            kind, idle = self._kind(operator), self._kind(operator) in dialect.float_without_effect
            if operator.quantized_dtype != FLOAT and (idle or kind == "Softmax"):
                findings.append(
                    f"{what}: FP32 ignored for {kind} '{operator.operator}', which is {operator.quantized_dtype}"
                )
            elif idle:
                findings.append(
                    f"{what}: {kind} '{operator.operator}' is FP32 by the record, but in {dialect.name} that was "
                    "seen to change nothing"
                )
        return findings

    def failing_floats(self, what: str, wanted: str, governed: Sequence[BuiltOperator], dialect: Dialect) -> list[str]:
        """FP32 for what was seen to fail the build, though this one went through."""
        kinds = sorted({self._kind(operator) for operator in governed} & dialect.float_fails)
        return [
            f"{what}: FP32 for {kind} was seen to fail builds; look at its values" for kind in kinds if wanted == FLOAT
        ]

    def missed_biases(
        self, what: str, wanted: str, request: LayerConfig, governed: Sequence[BuiltOperator]
    ) -> list[str]:
        """Requests by type that passed the Add of a constant behind a product by."""
        findings = []
        for operator in governed if request.types else ():
            if self._kind(operator) not in WEIGHTED_OPS or operator.quantized_dtype != wanted:
                continue
            for add in self._read_by(operator):
                found = self._types.get(add.name)
                biased = add.op_type == "Add" and self._constants.intersection(add.input)
                if biased and found is not None and _bits(found) < _bits(wanted):
                    findings.append(
                        f"{what}: op_types missed the bias Add '{add.name}' behind '{operator.operator}', which is "
                        f"{found}; name it in layer_names"
                    )
        return findings

    def forced_by_the_end(self, what: str, short: Sequence[BuiltOperator]) -> list[str]:
        """Operators in fewer bits than asked, with nothing but Reshape and Transpose between them and the outputs."""
        findings = []
        for operator in short:
            readers = self._read_by(operator)
            if readers and operator.tensor not in self._outputs and self._end_the_graph(readers):
                one = readers[0]
                findings.append(
                    f"{what}: a trailing {one.op_type} ('{one.name}') forced {_bits(operator.quantized_dtype)} bits on "
                    f"'{operator.operator}'; ask for the same type there too"
                )
        return findings

    def _end_the_graph(self, nodes: Sequence[onnx.NodeProto]) -> bool:
        """Tell whether all these nodes, and all that read them, are trailing ones, up to outputs of the graph."""
        return all(
            node.op_type in _TRAILING
            and (bool(self._outputs.intersection(node.output)) or bool(self._readers.get(node.output[0])))
            and self._end_the_graph(self._readers.get(node.output[0], []))
            for node in nodes
        )


def _bits(dtype: str) -> int:
    return _BITS.get(dtype, 32)
