"""The documented output tree and the end of the log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.standins.axmodel_container import write_axmodel
from tests.standins.pulsar2.quantize import RANGES, Operator, all_tensors

COLUMNS = ("Operator", "Type", "Output Tensor", "Shape", "DType", "QDType", "Cosin", "MSE")
DTYPES = {"U8": TensorProto.UINT8, "S8": TensorProto.INT8, "FP16": TensorProto.FLOAT16, "S32": TensorProto.INT32}


def write_build(
    config: dict[str, Any],
    output: Path,
    model: onnx.ModelProto,
    quantized: onnx.ModelProto,
    operators: list[Operator],
    sample: dict[str, np.ndarray],
    version: str,
    commit: str,
    log: tuple[Callable[[str], None], Callable[[str, str], None]],
) -> None:
    """Write everything that a build leaves."""
    say, info = log
    for folder in ("frontend", "quant/debug", "compiler"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    _write_quantization(output / "quant", model, operators)
    if config["quant"].get("precision_analysis"):
        table = precision_table(model, quantized, operators, sample)
        method = config["quant"].get("precision_analysis_method", "PerLayer")
        say(f"                    Quant Precision Table【{method} Reference】")
        say(table)
        (output / "quant/debug/precision_analysis_table.txt").write_text(table, encoding="utf-8")
    macs = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer if len(tensor.dims) > 1)
    info("yamain.command.build:compile_ptq_model:1134", f"group 0 QuantAxModel macs: {macs:,}")
    info("yasched.test_onepass:results2model:2542", f"max_cycle = {97 * macs + 450_154:,}")
    compiled = with_processors(quantized, config)
    name = config.get("output_name", "compiled.axmodel")
    write_axmodel(
        output / name,
        compiled,
        target_hardware=config.get("target_hardware", "AX650"),
        npu_mode=config.get("npu_mode", "NPU1"),
        version=version,
        commit=commit,
    )
    (output / "build_context.json").write_text(json.dumps({"standin": True, "config": config}), encoding="utf-8")
    info("yamain.command.build:compile_ptq_model:1142", "fuse 1 subgraph(s)")


def with_processors(model: onnx.ModelProto, config: dict[str, Any]) -> onnx.ModelProto:
    """Return the graph with inputs of the types that the input processors ask for."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    processors = {entry["tensor_name"]: entry for entry in config.get("input_processors", ())}
    for value in result.graph.input:
        kind = (processors.get(value.name) or processors.get("DEFAULT") or {}).get("src_dtype", "FP32")
        if kind in DTYPES:
            source = f"{value.name}.float"
            for node in result.graph.node:
                for place, name in enumerate(node.input):
                    if name == value.name:
                        node.input[place] = source
            result.graph.node.insert(0, helper.make_node("Cast", [value.name], [source], to=TensorProto.FLOAT))
            value.type.tensor_type.elem_type = DTYPES[kind]
    return result


def precision_table(
    model: onnx.ModelProto, quantized: onnx.ModelProto, operators: list[Operator], sample: dict[str, np.ndarray]
) -> str:
    """Draw the table as the vendor's tool does."""
    expected, found = all_tensors(model, sample), all_tensors(quantized, sample)
    rows = []
    for operator in operators:
        array, other = expected[operator.output], found.get(operator.output)
        if array.dtype != np.float32 or other is None:
            continue
        norm = float(np.linalg.norm(array)) * float(np.linalg.norm(other))
        cosine = float(np.dot(array.ravel(), other.ravel())) / norm if norm else 1.0
        kind = operator.kind if operator.kind in ("Reshape", "Transpose", "Concat") else f"Quantized{operator.kind}"
        mse = float(np.mean((array - other) ** 2))
        shape, figures = str(array.shape), (f"{cosine:.5f}", f"{mse:.5f}")
        rows.append((operator.name, f"Ax{kind}", operator.output, shape, "FP32", operator.quantized, *figures))
    widths = [max(len(row[place]) for row in [COLUMNS, *rows]) for place in range(len(COLUMNS))]
    lines = [
        "┏" + "┳".join("━" * (width + 2) for width in widths) + "┓",
        "┃" + "┃".join(f" {name:<{width}} " for name, width in zip(COLUMNS, widths, strict=True)) + "┃",
        "┡" + "╇".join("━" * (width + 2) for width in widths) + "┩",
    ]
    rule = "├" + "┼".join("─" * (width + 2) for width in widths) + "┤"
    for row in rows:
        lines += ["│" + "│".join(f" {cell:<{width}} " for cell, width in zip(row, widths, strict=True)) + "│", rule]
    lines[-1] = "└" + "┴".join("─" * (width + 2) for width in widths) + "┘"
    return "\n".join(lines) + "\n"


def _write_quantization(folder: Path, model: onnx.ModelProto, operators: list[Operator]) -> None:
    """Write the quantiser's record, and the graph of its operators without weights."""
    constants = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 1}
    by_name = {node.name: node for node in model.graph.node}
    record: dict[str, dict[str, Any]] = {}
    nodes = []
    for operator in operators:
        node = by_name[operator.name]
        weights = [name for name in node.input[1:2] if name in constants and node.op_type in ("Conv", "Gemm", "MatMul")]
        tensors = {name: _tensor_record(name, "S8") for name in weights}
        record[operator.name] = tensors | {operator.output: _tensor_record(operator.output, operator.quantized)}
        kind = f"AxQuantized{operator.kind}"
        nodes.append(helper.make_node(kind, list(node.input), [operator.output], name=operator.name))
    graph = helper.make_graph(nodes, "quant", list(model.graph.input), list(model.graph.output))
    (folder / "quant_axmodel.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    (folder / "quant_axmodel.data").write_bytes(b"")
    (folder / "quant_axmodel.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def _tensor_record(name: str, kind: str) -> dict[str, Any]:
    number = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    low, high = RANGES.get(kind, (0, 0))
    return {
        "bit_width": {"U8": 8, "S8": 8, "U16": 16, "S16": 16}.get(kind, 32),
        "policy": {"PER_TENSOR": True, "PER_CHANNEL": False, "LINEAR": True},
        "state": "FP32" if kind == "FP32" else "ACTIVATED",
        "quant_min": low,
        "quant_max": high,
        "hash": number,
        "dominator": number,
    }
