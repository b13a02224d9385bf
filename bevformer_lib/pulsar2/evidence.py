"""What a finished build left behind, read and compared with what was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx

from bevformer_lib.errors import ConversionError
from bevformer_lib.pulsar2.build_config import BuildConfig
from bevformer_lib.pulsar2.container import AxModel, interface_defects, read_axmodel
from bevformer_lib.pulsar2.errors import BuildFailedError
from bevformer_lib.pulsar2.knobs import knob_findings
from bevformer_lib.pulsar2.log import BuildFigures, read_figures
from bevformer_lib.pulsar2.missing_layers import read_graph, read_graph_of_build
from bevformer_lib.pulsar2.precision import (
    BuiltOperator,
    parse_precision_table,
    read_quantization,
    read_weight_types,
    request_findings,
    with_analysis,
)
from bevformer_lib.pulsar2.tool import ToolVersion, image_version
from bevformer_lib.pulsar2.trace import LayerCycles, estimated_ms, read_layer_cycles
from bevformer_lib.pulsar2.versions import Dialect, dialect_of

OUTPUT_NAME: Final = "compiled.axmodel"
QUANTIZED_GRAPH: Final = "quant/quant_axmodel.onnx"
QUANTIZATION_RECORD: Final = "quant/quant_axmodel.json"
PRECISION_TABLE: Final = "quant/debug/precision_analysis_table.txt"
_TABLE_TITLE: Final = "Quant Precision Table"
Reader = Callable[[], tuple[BuiltOperator, ...]]
NORMAL_COSINE: Final = 0.98
"""Final outputs above this are normal by the documentation's rule of thumb; detections must still be measured."""


@dataclass(frozen=True)
class Evidence:
    """A build, inspected.

    Attributes:
        figures: cycles and multiply-accumulates.
        layer_cycles: what every layer takes, the most first; empty: the build was not profiled.
        findings: requests without effect, and what else should be looked at; empty: none.
    """

    axmodel: AxModel
    figures: BuildFigures
    operators: tuple[BuiltOperator, ...]
    layer_cycles: tuple[LayerCycles, ...]
    findings: tuple[str, ...]

    def to_content(self) -> dict[str, Any]:
        """Return plain data for a report."""
        return {
            "axmodel": self.axmodel.to_content(),
            "max_cycle": list(self.figures.max_cycle),
            "macs": list(self.figures.macs),
            "estimated_ms": estimated_ms(self.figures.max_cycle),
            "layer_cycles": [layer.to_content() for layer in self.layer_cycles],
            "precision_table": [operator.to_content() for operator in self.operators],
            "findings": list(self.findings),
        }


def collect_evidence(
    folder: Path,
    lines: Sequence[str],
    *,
    model: onnx.ModelProto,
    path: Path,
    config: BuildConfig,
    tool: ToolVersion,
) -> Evidence:
    """Inspect what a build wrote.

    Raises:
        BuildFailedError: there is no compiled model, or it is not the given model's.
    """
    compiled = folder / OUTPUT_NAME
    if not compiled.is_file():
        raise BuildFailedError(f"{path}: pulsar2 build ended without an error but wrote no {OUTPUT_NAME}")
    try:
        axmodel = read_axmodel(compiled)
    except ConversionError as error:
        raise BuildFailedError(f"{path}: what pulsar2 build wrote can't be used: {error}") from error
    if defects := interface_defects(axmodel, model, path, config):
        raise BuildFailedError(f"{path}: what pulsar2 build wrote is not this model: {'; '.join(defects)}")
    findings = []
    if axmodel.version is not None and axmodel.version != tool.version:
        findings.append(f"the compiled model says version {axmodel.version}, pulsar2 says {tool.version}")
    tagged = image_version(tool.location) if tool.kind == "docker" else None
    # Either may have something appended (4.2-patch1).
    if tagged is not None and not tagged.startswith(tool.version) and not tool.version.startswith(tagged):
        findings.append(f"the image is {tool.location}, pulsar2 in it says version {tool.version}")
    if axmodel.other_nodes:
        listed = ", ".join(f"{count} x {kind}" for kind, count in axmodel.other_nodes.items())
        findings.append(f"parts of the model don't run on the NPU: {listed}")
    operators = _operators(folder, lines, findings)
    findings += _precision_findings(folder, model, config, operators, dialect_of(tool.version))
    cycles: tuple[LayerCycles, ...] = ()
    try:
        cycles = read_layer_cycles(folder, {operator.operator for operator in operators})
    except ConversionError as error:
        findings.append(f"the profile can't be read: {error}")
    return Evidence(axmodel, read_figures(lines), operators, cycles, tuple(findings))


def _operators(folder: Path, lines: Sequence[str], findings: list[str]) -> tuple[BuiltOperator, ...]:
    """Read the operators as built: from the quantiser's record, with what the table says of their values.

    Without a record, the table alone, which cuts long names.
    """
    table, record = folder / PRECISION_TABLE, folder / QUANTIZATION_RECORD
    title = next((place for place, line in enumerate(lines) if _TABLE_TITLE in line), None)
    tables: list[Reader] = []
    if table.is_file():
        tables.append(
            lambda: parse_precision_table(table.read_text(encoding="utf-8", errors="replace"), PRECISION_TABLE)
        )
    if title is not None:
        tables.append(lambda: parse_precision_table("\n".join(lines[title:]), "the build's log"))
    analysed = _first(tables, findings)
    graph = read_graph(folder / QUANTIZED_GRAPH)
    recorded = _first([lambda: read_quantization(record, graph)] if record.is_file() else [], findings)
    return with_analysis(recorded, analysed) if recorded else analysed


def _first(readers: Sequence[Reader], findings: list[str]) -> tuple[BuiltOperator, ...]:
    for reader in readers:
        try:
            return reader()
        except ConversionError as error:
            findings.append(f"the built precisions can't be read: {error}")
    return ()


def _precision_findings(
    folder: Path, model: onnx.ModelProto, config: BuildConfig, operators: Sequence[BuiltOperator], dialect: Dialect
) -> list[str]:
    requests = config.quant.layer_configs if config.quant is not None else None
    findings = [
        f"{operator.operator} puts out '{operator.tensor}' at a cosine of {operator.cosine:.4f} with the float model, "
        f"below {NORMAL_COSINE}"
        for operator in operators
        if operator.cosine is not None
        and operator.cosine < NORMAL_COSINE
        and operator.tensor in {value.name for value in model.graph.output}
    ]
    if not requests:
        return findings
    findings += _never_float(requests, model.graph, dialect)
    if not operators:
        return [*findings, "the build wrote no table of precisions, so what was asked of layer_configs is unchecked"]
    record = folder / QUANTIZATION_RECORD
    graph = read_graph_of_build(folder, dialect.frontend_graphs) or model.graph
    weights: Mapping[str, str] = {}
    if record.is_file():
        try:
            weights = read_weight_types(record, {tensor.name for tensor in graph.initializer})
        except ConversionError as error:
            findings.append(f"the types of weights can't be read: {error}")
    findings += request_findings(requests, operators, graph, weights, named=model.graph)
    return findings + knob_findings(requests, operators, model.graph, dialect)


def _never_float(requests: Sequence[Any], graph: onnx.GraphProto, dialect: Dialect) -> list[str]:
    """Name operator types that are asked to be float, but were not observed to become float in this version."""
    kinds = {node.name: node.op_type for node in graph.node if node.name}
    findings = []
    for place, request in enumerate(requests):
        if request.data_type == "FP32":
            layers = [request.layer_name] if request.layer_name else request.layer_names or []
            asked = {kinds[name] for name in layers if name in kinds}
            asked.update([request.op_type] if request.op_type else request.op_types or [])
            if unknown := sorted(asked - dialect.float_ops):
                findings.append(
                    f"layer_configs.{place}: FP32 is not documented for {', '.join(unknown)} "
                    f"(it is for {', '.join(sorted(dialect.float_ops))})"
                )
    return findings
