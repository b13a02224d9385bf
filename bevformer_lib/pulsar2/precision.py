"""The precision of every operator as it was built, and whether each request for one had an effect.

The converter drops a request without a word: an ``op_types`` entry that names operators which were fused away, a
float type for an operator that can't be float. So what was asked is compared with what the build's own files say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import onnx

from bevformer_lib.errors import ConversionError
from bevformer_lib.pulsar2.build_config import DEFAULT_TENSORS, MOST_NAMED, LayerConfig
from bevformer_lib.pulsar2.missing_layers import FUSED_NAME
from bevformer_lib.pulsar2.quantization_record import FLOAT_BITS, entries_of_operators
from bevformer_lib.pulsar2.subgraph import tensors_between
from bevformer_lib.strict_json import read_json

TABLE_COLUMNS: Final = ("Operator", "Type", "Output Tensor", "Shape", "DType", "QDType", "Cosin", "MSE")
FLOAT: Final = "FP32"
SIGNED: Final = frozenset({"S8", "S16"})
_RULE: Final = re.compile(r"^[\s┏┓┗┛┡┩┣┫╇╈╋┳┻━├┤┼┬┴└┘┌┐─╞╡═+|-]*$")
_BORDERS: Final = re.compile(r"[┃│|]")
_PLAIN_HEADER: Final = re.compile(r"^\s*" + r"[\s,]+".join(TABLE_COLUMNS) + r"\s*$")
_PLAIN_ROW: Final = re.compile(
    r"^\s*" + r"[\s,]+".join([r"(\S+?)"] * 3 + [r"\"?([(\[].*?[)\]])\"?"] + [r"(\S+?)"] * 4) + r"\s*$"
)
_KIND_PREFIXES: Final = re.compile(r"^(onnx\.)?(Ax(Quantized)?)?")
_KIND_ALIASES: Final[Mapping[str, frozenset[str]]] = {
    "globavgpool": frozenset({"globalaveragepool"}),
    "fullyconnected": frozenset({"gemm", "matmul"}),
}
"""Built type -> the ONNX types that it is made of; a request by one of these is heard."""
_CUT: Final = re.compile(r"(…|\.\.\.)$")
"""The end of a name that the table cut short."""
_QUANTIZED_RANGES: Final[Mapping[tuple[int, int], str]] = {
    (0, 255): "U8",
    (-128, 127): "S8",
    (-127, 127): "S8",
    (0, 65535): "U16",
    (-32768, 32767): "S16",
    (-32767, 32767): "S16",
}


@dataclass(frozen=True)
class BuiltOperator:
    """A row of the precision analysis table.

    Attributes:
        operator: name of the operator after fusion.
        kind: its type, in the converter's words (``AxQuantizedConv``).
        tensor: its output.
        shape: the output's shape, as printed.
        dtype: type in the float model.
        quantized_dtype: type in the built model: U8, S8, U16, S16, FP32, ...
        cosine: cosine similarity with the float model's tensor; ``None``: not a number there.
        mse: mean squared error; likewise.
    """

    operator: str
    kind: str
    tensor: str
    shape: str
    dtype: str
    quantized_dtype: str
    cosine: float | None
    mse: float | None

    def to_content(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def parse_precision_table(text: str, source: str) -> tuple[BuiltOperator, ...]:
    """Read a precision analysis table, with borders or without; long cells may go on in the lines below.

    Raises:
        ConversionError: there is no table, or it has other columns.
    """
    rows: list[list[str]] = []
    found = False
    for line in text.splitlines():
        if _RULE.match(line):
            continue
        cells = _cells(line)
        if not found:
            found = tuple(cells) == TABLE_COLUMNS
        elif len(cells) == len(TABLE_COLUMNS) and cells[0] and cells[-1]:
            rows.append(cells)
        elif len(cells) == len(TABLE_COLUMNS) and rows:
            # A cell that was too long for its column goes on here.
            rows[-1] = [above + below for above, below in zip(rows[-1], cells, strict=True)]
    if not found:
        raise ConversionError(f"{source}: holds no table with the columns {', '.join(TABLE_COLUMNS)}")
    return tuple(
        BuiltOperator(operator, kind, tensor, shape, dtype, quantized, _number(cosine), _number(mse))
        for operator, kind, tensor, shape, dtype, quantized, cosine, mse in rows
    )


def _cells(line: str) -> list[str]:
    """Split a line of the table; without borders, only the name of a column and a shape hold blanks."""
    if _BORDERS.search(line):
        return [cell.strip() for cell in _BORDERS.split(line.strip().strip("┃│|"))]
    if _PLAIN_HEADER.match(line):
        return list(TABLE_COLUMNS)
    row = _PLAIN_ROW.match(line)
    return list(row.groups()) if row else []


def read_quantization(record: Path, graph: onnx.GraphProto | None) -> tuple[BuiltOperator, ...]:
    """Return the operators of the quantiser's own record (``quant_axmodel.json``), for builds without analysis.

    Args:
        record: the file.
        graph: the quantised graph (``quant_axmodel.onnx``), which says what operators put out; ``None``: not there,
            and the last tensor recorded for an operator counts as its output.

    Raises:
        ConversionError: the record can't be read.
    """
    nodes = {FUSED_NAME.sub("", node.name): node for node in graph.node} if graph is not None else {}
    operators = []
    for recorded, types in _recorded_types(record).items():
        name = FUSED_NAME.sub("", recorded)
        node = nodes.get(name)
        outputs = [tensor for tensor in types if node is None or tensor in node.output]
        if outputs:
            kind = node.op_type if node is not None else ""
            operators.append(BuiltOperator(name, kind, outputs[-1], "", FLOAT, types[outputs[-1]], None, None))
    return tuple(operators)


def with_analysis(recorded: Sequence[BuiltOperator], analysed: Sequence[BuiltOperator]) -> tuple[BuiltOperator, ...]:
    """Return the operators of the record with what the analysis measured of them.

    The record has every name whole. A name that the table cut is taken for the one operator that begins so.
    """
    exact = {FUSED_NAME.sub("", row.operator): row for row in analysed if not _CUT.search(row.operator)}
    cut = [(_CUT.sub("", FUSED_NAME.sub("", row.operator)), row) for row in analysed if _CUT.search(row.operator)]
    names = [operator.operator for operator in recorded]
    for start, row in cut:
        meant = [name for name in names if name.startswith(start) and name not in exact]
        if len(meant) == 1:
            exact[meant[0]] = row
    return tuple(_analysed(operator, exact.get(operator.operator)) for operator in recorded)


def _analysed(operator: BuiltOperator, row: BuiltOperator | None) -> BuiltOperator:
    if row is None:
        return operator
    kind = operator.kind or row.kind
    return replace(operator, kind=kind, shape=row.shape, dtype=row.dtype, cosine=row.cosine, mse=row.mse)


def read_weight_types(record: Path, constants: Collection[str]) -> dict[str, str]:
    """Return operator -> type of its weight, from the quantiser's own record.

    Raises:
        ConversionError: the record can't be read.
    """
    return {
        FUSED_NAME.sub("", operator): weights[0]
        for operator, types in _recorded_types(record).items()
        if (weights := [kind for tensor, kind in types.items() if tensor in constants])
    }


def _recorded_types(path: Path) -> dict[str, dict[str, str]]:
    """Return operator -> tensor -> built type."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise ConversionError(f"{path.name}: can't be read ({error})") from error
    return {
        operator: {tensor: _recorded_type(entry) for tensor, entry in tensors.items() if isinstance(entry, Mapping)}
        for operator, tensors in entries_of_operators(content).items()
        if isinstance(tensors, Mapping)
    }


def request_findings(
    requests: Sequence[LayerConfig],
    built: Sequence[BuiltOperator],
    graph: onnx.GraphProto,
    weight_types: Mapping[str, str],
    *,
    named: onnx.GraphProto | None = None,
) -> list[str]:
    """Say which requests for a precision had no effect, or not all of it; signed ones apart, whose reasons are known.

    Where several requests name one operator, its name counts before its type, and its type before a subgraph, as the
    converter has it; among equals the last one counts.

    Args:
        requests: ``layer_configs``.
        built: the operators as built.
        graph: the optimised graph (or else the float one), to know what lies between tensors.
        weight_types: operator -> type of its weight, where that is known.
        named: the float graph, where ``graph`` is not it: it has the ONNX types of operators.
    """
    findings = []
    types = _onnx_types(built, named or graph)
    matches = [[operator for operator in built if _selects(request, operator, graph, types)] for request in requests]
    governed_by = governed_operators(requests, built, graph, named=named)
    for place, (request, found, governed) in enumerate(zip(requests, matches, governed_by, strict=True)):
        wanted = request.output_data_type or request.data_type
        what = f"layer_configs.{place} ({request.describe()}: {wanted or request.weight_data_type})"
        for name in request.layers:
            if not any(operator.operator == FUSED_NAME.sub("", name) for operator in found):
                findings.append(f"{what}: no operator '{name}' was built; it was fused away, or never there")
        for kind in request.types:
            if not any(kind.lower() in types[operator.operator] for operator in found):
                findings.append(f"{what}: no operator of type {kind} was built; the request had no effect")
        if request.start_tensor_names and not found:
            findings.append(f"{what}: no operator was built between these tensors; the request had no effect")
        if wanted is not None and wanted not in SIGNED:
            findings += _unmet(
                what, "operators", wanted, {o.operator: o.quantized_dtype for o in governed if is_own(o)}
            )
        if request.weight_data_type is not None:
            weights = {o.operator: weight_types[o.operator] for o in governed if o.operator in weight_types}
            findings += _unmet(what, "weights", request.weight_data_type, weights)
    return findings


def governed_operators(
    requests: Sequence[LayerConfig],
    built: Sequence[BuiltOperator],
    graph: onnx.GraphProto,
    *,
    named: onnx.GraphProto | None = None,
) -> list[list[BuiltOperator]]:
    """Return, for every request, the operators that it decides on, others that count more taken into account."""
    types = _onnx_types(built, named or graph)
    chosen: dict[str, tuple[int, int]] = {}
    matches: list[list[BuiltOperator]] = []
    for place, request in enumerate(requests):
        matches.append([operator for operator in built if _selects(request, operator, graph, types)])
        for operator in matches[-1]:
            chosen[operator.operator] = max(chosen.get(operator.operator, (0, -1)), (request.rank, place))
    return [
        [operator for operator in found if chosen[operator.operator] == (request.rank, place)]
        for place, (request, found) in enumerate(zip(requests, matches, strict=True))
    ]


def grants(built: str, wanted: str) -> bool:
    """Tell whether a built type is the one that was asked for.

    Operands of a product of two computed tensors are signed, whatever is asked for; as many bits are all that can be.
    """
    return built == wanted or (wanted.startswith("U") and built == f"S{wanted[1:]}")


def is_own(operator: BuiltOperator) -> bool:
    """Tell whether an operator is the model's; those at its inputs and outputs only change types."""
    return not operator.kind.endswith("QuantizeLinear") and not operator.kind.endswith("DequantizeLinear")


def _unmet(what: str, things: str, wanted: str, found: Mapping[str, str]) -> list[str]:
    others = [f"{name} is {kind}" for name, kind in found.items() if not grants(kind, wanted)]
    if not others:
        return []
    more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
    named = ", ".join(others[:MOST_NAMED])
    return [f"{what}: {len(others)} of {len(found)} {things} were built otherwise: {named}{more}"]


def _selects(
    request: LayerConfig, operator: BuiltOperator, graph: onnx.GraphProto, types: Mapping[str, frozenset[str]]
) -> bool:
    if request.start_tensor_names and request.end_tensor_names:
        if DEFAULT_TENSORS in request.start_tensor_names and DEFAULT_TENSORS in request.end_tensor_names:
            return True
        return operator.tensor in tensors_between(graph, request.start_tensor_names, request.end_tensor_names)
    if request.types:
        return bool(types[operator.operator] & {kind.lower() for kind in request.types})
    return operator.operator in {FUSED_NAME.sub("", name) for name in request.layers}


def _onnx_types(built: Sequence[BuiltOperator], graph: onnx.GraphProto) -> dict[str, frozenset[str]]:
    """Return operator -> the ONNX types, in lower case, that it may have been made of.

    Where the graph still has it under its ONNX type, that one alone: a FullyConnected is made of a MatMul or a Gemm.
    """
    known = {FUSED_NAME.sub("", node.name): node.op_type.lower() for node in graph.node if node.name}
    types: dict[str, frozenset[str]] = {}
    for operator in built:
        plain = _KIND_PREFIXES.sub("", operator.kind).lower()
        may_be = _KIND_ALIASES.get(plain, frozenset({plain}))
        own = known.get(operator.operator)
        types[operator.operator] = may_be if own is None or (plain and own not in may_be) else frozenset({own})
    return types


def _recorded_type(record: Mapping[str, Any]) -> str:
    if record.get("state") == FLOAT or record.get("bit_width") == FLOAT_BITS:
        return FLOAT
    bounds = (record.get("quant_min"), record.get("quant_max"))
    for known, name in _QUANTIZED_RANGES.items():
        if bounds == known:
            return name
    return f"{record.get('bit_width')} bit"


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def count_types(built: Iterable[BuiltOperator], *, in_float: bool) -> dict[str, int]:
    """Count built operators by type: those in float, or the others."""
    counts: dict[str, int] = {}
    for operator in built:
        if (operator.quantized_dtype == FLOAT) == in_float:
            counts[operator.kind] = counts.get(operator.kind, 0) + 1
    return dict(sorted(counts.items()))
