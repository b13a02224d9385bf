"""ONNX graphs from files: what no runtime or converter should be asked to make sense of is refused at the door."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bevformer_lib.foreign_files import advice

if TYPE_CHECKING:
    import onnx

_MULTIPLIED: Final = frozenset(
    {"BatchNormalization", "Conv", "ConvTranspose", "Gemm", "InstanceNormalization", "LayerNormalization", "MatMul"}
)
"""Operators whose constants are weights: no finite result comes from an infinite one."""
_BOUNDS: Final = frozenset({"Clip", "Max", "Min", "Where", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal"})
"""Operators that may well be given an infinity."""
_SHOWN: Final = 200


def read_onnx(path: Path, *, external: bool = True) -> onnx.ModelProto:
    """Read a graph and check what :func:`graph_faults` looks at.

    Args:
        path: the file.
        external: whether weights in other files are read too.

    Raises:
        OSError: it can't be read.
        ValueError: it is no graph, or has a fault; said as the end of a sentence that starts with its name.
    """
    model = load_onnx(path, external=external)
    fault = next(graph_faults(model), None)
    if fault is not None:
        raise ValueError(f"{fault}; export it again")
    return model


def load_onnx(path: Path, *, external: bool) -> onnx.ModelProto:
    """Read a graph of any kind, as :func:`read_onnx` does; its faults are not looked for.

    Raises:
        OSError: it can't be read.
        ValueError: it is no graph; said as the end of a sentence that starts with its name.
    """
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=external)
        if not all(isinstance(name, str) for name in _names(model.graph)):
            raise ValueError("a name that is not UTF-8")  # protobuf gives bytes
    except OSError:
        raise
    except Exception as error:  # protobuf's DecodeError has no typed home
        said = str(error)[:_SHOWN]
        raise ValueError(f"can't be read as an ONNX model ({said}); {advice(path, 'export it again')}") from error
    if not model.graph.node:  # an empty file is a valid message
        raise ValueError(f"holds no ONNX graph; {advice(path, 'export it again')}")
    return model


def _names(graph: onnx.GraphProto) -> Iterator[object]:
    yield from (value.name for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info))
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for entry in node.attribute:
            yield entry.name
            if entry.HasField("g"):
                yield from _names(entry.g)


def graph_faults(model: onnx.ModelProto) -> Iterator[str]:
    """Yield what is wrong with a graph's names, types and weights, whatever its operators are."""
    graph = model.graph
    if not graph.output:
        yield "names no outputs"
    known = _known_types()
    for value in graph.input:
        if not value.type.HasField("tensor_type") or value.type.tensor_type.elem_type not in known:
            yield f"its input {_named(value.name)} has no type that ONNX knows"
    defined = Counter(value.name for value in graph.input)
    constants = {tensor.name for tensor in graph.initializer}
    yield from (f"its initializer {_named(name)} {why}" for name, why in weight_faults(graph))
    seen = {*defined, *constants, *(tensor.values.name for tensor in graph.sparse_initializer), ""}
    for node in graph.node:
        label = _named(node.name or (node.output[0] if node.output else ""))
        if not node.op_type:
            yield f"its node {label} has no operator"
        if not any(node.output):
            yield f"its node {label} ({node.op_type[:_SHOWN]}) has no output"
        for name in node.input:
            if name not in seen:
                yield f"its node {label} reads {_named(name)}, which nothing before it computes"
        for name in node.output:
            if name and name in seen:
                yield f"computes {_named(name)} twice"
            seen.add(name)
    yield from (
        f"its output {_named(value.name)} is computed by no node" for value in graph.output if value.name not in seen
    )


def weight_faults(graph: onnx.GraphProto) -> Iterator[tuple[str, str]]:
    """Yield a constant's name and what is wrong with it, as the end of a sentence; not of those in other files."""
    names = Counter(tensor.name for tensor in graph.initializer)
    yield from ((name, "is given twice") for name, times in names.items() if times > 1)
    known, readers = _known_types(), _readers(graph)
    for tensor in graph.initializer:
        fault = _value_fault(tensor, known, readers.get(tensor.name, frozenset()))
        if fault is not None:
            yield tensor.name, fault


def _known_types() -> frozenset[int]:
    import onnx

    return frozenset(onnx.TensorProto.DataType.values()) - {onnx.TensorProto.UNDEFINED}


def _readers(graph: onnx.GraphProto) -> dict[str, frozenset[str]]:
    readers: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    return {name: frozenset(operators) for name, operators in readers.items()}


def _value_fault(tensor: onnx.TensorProto, known: frozenset[int], readers: frozenset[str]) -> str | None:
    import onnx

    if tensor.data_type not in known:
        return "has no type that ONNX knows"
    if min(tensor.dims, default=0) < 0:
        return f"has the shape {list(tensor.dims)[:8]}"
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    try:
        values: Any = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError):
        return "does not hold the values that its shape and type ask for"
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return None
    if np.isnan(values).any():
        return "holds NaN"
    # A mask that is added before a softmax may be minus infinity.
    if readers & _MULTIPLIED or ((values == np.inf).any() and not readers <= _BOUNDS):
        return "holds infinity"
    return None


def _named(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}...")
