"""The documented output tree and the end of the log."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.standins.axmodel_container import write_axmodel
from tests.standins.pulsar2.personality import AS_SEEN, COMMIT, VERSION
from tests.standins.pulsar2.quantize import (
    RANGES,
    WEIGHTED,
    Operator,
    all_tensors,
    fuse,
    fused_graph,
    scale_and_zero,
    weight_scales,
)

COLUMNS = ("Operator", "Type", "Output Tensor", "Shape", "DType", "QDType", "Cosin", "MSE")
WIDEST = 32
"""Letters of a name that the printed table has room for."""
DTYPES = {"U8": TensorProto.UINT8, "S8": TensorProto.INT8, "FP16": TensorProto.FLOAT16, "S32": TensorProto.INT32}


def write_build(
    config: dict[str, Any],
    output: Path,
    model: onnx.ModelProto,
    quantized: onnx.ModelProto,
    operators: list[Operator],
    sample: dict[str, np.ndarray],
    ranges: dict[str, tuple[float, float]],
    log: tuple[Callable[[str], None], Callable[[str, str], None]],
) -> None:
    """Write everything that a build leaves."""
    say, info = log
    for folder in ("frontend", "quant/debug", "compiler"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    _write_quantization(output / "quant", model, operators, ranges)
    if config.get("compiler", {}).get("npu_perf"):
        _write_profile(output / "compiler/debug/subgraph_npu_0/b1", operators)
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
        version=VERSION,
        commit=COMMIT,
    )
    (output / "build_context.json").write_text(json.dumps({"standin": True, "config": config}), encoding="utf-8")
    info("yamain.command.build:compile_ptq_model:1142", "fuse 1 subgraph(s)")


def write_fused(config: dict[str, Any], output: Path, model: onnx.ModelProto) -> None:
    """Write the float graph after fusion; under its other name where that was asked for."""
    (output / "frontend").mkdir(parents=True, exist_ok=True)
    fused = fused_graph(model).SerializeToString()
    if not AS_SEEN:
        (output / "frontend/optimized.onnx").write_bytes(fused)
        return
    (output / "frontend/optimized.onnx").write_bytes(model.SerializeToString())
    if config.get("debug", {}).get("dump_frontend_graph"):
        (output / "frontend/optimized_quant_axmodel.onnx").write_bytes(fused)


def with_processors(model: onnx.ModelProto, config: dict[str, Any]) -> onnx.ModelProto:
    """Return the graph with inputs of the types and layouts that the input processors ask for, normalised inside."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    processors = {entry["tensor_name"]: entry for entry in config.get("input_processors", ())}
    calibrated = {entry["tensor_name"]: entry for entry in config["quant"]["input_configs"]}
    for value in result.graph.input:
        entry = processors.get(value.name) or processors.get("DEFAULT") or {}
        steps = _steps(result.graph, value, entry, calibrated.get(value.name) or calibrated.get("DEFAULT") or {})
        if not steps:
            continue
        for node in result.graph.node:
            for place, name in enumerate(node.input):
                if name == value.name:
                    node.input[place] = steps[-1].output[0]
        for node in reversed(steps):
            result.graph.node.insert(0, node)
    return result


def _steps(
    graph: onnx.GraphProto, value: onnx.ValueInfoProto, entry: dict[str, Any], calibrated: dict[str, Any]
) -> list[onnx.NodeProto]:
    """Return what stands before the graph at one input, and give the input the type and layout that comes in."""
    wanted: list[tuple[str, list[str], dict[str, Any]]] = []
    sizes = value.type.tensor_type.shape.dim
    if entry.get("src_dtype", "FP32") in DTYPES:
        wanted.append(("Cast", [], {"to": TensorProto.FLOAT}))
        value.type.tensor_type.elem_type = DTYPES[entry["src_dtype"]]
    if entry.get("src_layout") == "NHWC" and entry.get("tensor_layout", "NCHW") == "NCHW" and len(sizes) == 4:
        wanted.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
        _, channels, height, width = (size.dim_value for size in sizes)
        for size, number in zip(list(sizes)[1:], (height, width, channels), strict=True):
            size.dim_value = number
    for operator, key in (("Sub", "mean"), ("Div", "std")):
        numbers = entry.get(key) or calibrated.get(f"calibration_{key}")
        if numbers:
            # Along the channels of NCHW, however many axes are before them.
            array = np.asarray(numbers, np.float32).reshape(-1, *[1] * min(max(len(sizes) - 2, 0), 2))
            graph.initializer.append(numpy_helper.from_array(array, f"{value.name}.{key}"))
            wanted.append((operator, [f"{value.name}.{key}"], {}))
    names = [value.name, *(f"{value.name}.{place}" for place in range(len(wanted)))]
    return [
        helper.make_node(operator, [names[place], *more], [names[place + 1]], **given)
        for place, (operator, more, given) in enumerate(wanted)
    ]


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
        plain = operator.kind.removeprefix("onnx.")
        kind = plain if plain in ("Reshape", "Transpose", "Concat") else f"Quantized{plain}"
        mse = float(np.mean((array - other) ** 2))
        shape, figures = str(array.shape), (f"{cosine:.5f}", f"{mse:.5f}")
        name, tensor = _cut(operator.name), _cut(operator.output)
        rows.append((name, f"Ax{kind}", tensor, shape, "FP32", operator.quantized, *figures))
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


def _cut(name: str) -> str:
    """Cut a name as a column of the table does."""
    return name if len(name) <= WIDEST else f"{name[: WIDEST - 1]}…"


def _write_quantization(
    folder: Path, model: onnx.ModelProto, operators: list[Operator], ranges: dict[str, tuple[float, float]]
) -> None:
    """Write the quantiser's record, and the graph of its operators without weights."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) > 1}
    nodes = {fused.name: fused.node for fused in fuse(model.graph)}
    live = {value.name for value in model.graph.input} | {name for node in model.graph.node for name in node.output}
    types = {operator.output: operator.quantized for operator in operators}
    record: dict[str, dict[str, Any]] = {}
    values: dict[str, Any] = {}
    written = []

    def entry(kind: str, scale: Any, zero: Any, *, per_channel: bool = False) -> dict[str, Any]:
        number = len(values) + 1
        values[str(number)] = {"scale": scale, "zero_point": zero}
        return _tensor_record(number, kind, per_channel=per_channel)

    def tensor(name: str, kind: str) -> dict[str, Any]:
        if kind == "FP32" or name not in ranges:
            return entry("FP32", None, None)
        scale, zero = scale_and_zero(*ranges[name], kind)
        return entry(kind, [float(np.float32(scale))], [zero])

    for operator in operators:
        node = nodes[operator.name]
        own: dict[str, Any] = {}
        for slot, name in enumerate(node.input):
            if slot == 1 and name in constants and node.op_type in WEIGHTED:
                scales = weight_scales(numpy_helper.to_array(constants[name]), node)
                renamed = "w_trans" if AS_SEEN and node.op_type == "MatMul" else name
                own[renamed] = entry("S8", scales, [0] * len(scales), per_channel=True)
            elif name in live and name in ranges:
                own[name] = tensor(name, types.get(name, operator.quantized.replace("S", "U")))
        own[operator.output] = tensor(operator.output, operator.quantized)
        record[operator.name] = own
        kind = f"AxQuantized{operator.kind.removeprefix('onnx.')}"
        written.append(helper.make_node(kind, list(node.input), [operator.output], name=operator.name))
    graph = helper.make_graph(written, "quant", list(model.graph.input), list(model.graph.output))
    (folder / "quant_axmodel.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    (folder / "quant_axmodel.data").write_bytes(b"")
    content = {
        "tensor_configs": record,
        "values": values,
        "dispatchings": {operator.name: "AX_NPU_AX650_INT8" for operator in operators},
        "mix_precision_configs": {},
    }
    (folder / "quant_axmodel.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


def _tensor_record(number: int, kind: str, *, per_channel: bool) -> dict[str, Any]:
    low, high = RANGES.get(kind, (0, 0))
    return {
        "bit_width": {"U8": 8, "S8": 8, "U16": 16, "S16": 16}.get(kind, 32),
        "policy": {"PER_TENSOR": not per_channel, "PER_CHANNEL": per_channel, "LINEAR": True},
        "state": "FP32" if kind == "FP32" else "ACTIVATED",
        "quant_min": low,
        "quant_max": high,
        "hash": number,
        "dominator": number,
    }


def _write_profile(folder: Path, operators: list[Operator]) -> None:
    """Write cycles per piece of an operator, and the trace of the same."""
    folder.mkdir(parents=True)
    lines, events, start = ["op,type,cycles,bandwidth,shape"], [], 0
    for place, operator in enumerate(operators):
        name = operator.name if operator.name.startswith("op_") else f"op_{place}:{operator.name}"
        for piece, cycles in ((f"{name}_s0_gop", 1000 + place), (f"ld:{name}_s1_sp", 200)):
            lines.append(f"{piece},Ax{operator.kind.removeprefix('onnx.')},{cycles},0.5,{operator.output}")
            events.append(
                {"ph": "X", "pid": "subgraph_npu_0", "tid": "teng2", "ts": start, "dur": cycles, "name": piece}
            )
            start += cycles
    (folder / "op_profile.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "trace.json").write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}), encoding="utf-8")
