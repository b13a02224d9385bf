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
from bevformer_lib.pulsar2.log import BuildFigures, read_figures
from bevformer_lib.pulsar2.precision import (
    BuiltOperator,
    parse_precision_table,
    read_quantization,
    read_weight_types,
    request_findings,
)
from bevformer_lib.pulsar2.recipes import FLOAT_OPS
from bevformer_lib.pulsar2.tool import ToolVersion, image_version

OUTPUT_NAME: Final = "compiled.axmodel"
OPTIMIZED_GRAPH: Final = "frontend/optimized.onnx"
QUANTIZED_GRAPH: Final = "quant/quant_axmodel.onnx"
QUANTIZATION_RECORD: Final = "quant/quant_axmodel.json"
PRECISION_TABLE: Final = "quant/debug/precision_analysis_table.txt"
_TABLE_TITLE: Final = "Quant Precision Table"
NORMAL_COSINE: Final = 0.98
"""Final outputs above this are normal by the documentation's rule of thumb; detections must still be measured."""


@dataclass(frozen=True)
class Evidence:
    """A build, inspected.

    Attributes:
        axmodel: the compiled model's own words.
        figures: cycles and multiply-accumulates.
        operators: every operator as built.
        findings: requests without effect, and what else should be looked at; empty: none.
    """

    axmodel: AxModel
    figures: BuildFigures
    operators: tuple[BuiltOperator, ...]
    findings: tuple[str, ...]

    def to_content(self) -> dict[str, Any]:
        """Return plain data for a report."""
        return {
            "axmodel": self.axmodel.to_content(),
            "max_cycle": list(self.figures.max_cycle),
            "macs": list(self.figures.macs),
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

    Args:
        folder: the build's output folder.
        lines: its log.
        model: the float graph.
        path: its file, to name in errors.
        config: what the build was told.
        tool: what built it.

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
    findings += _precision_findings(folder, model, config, operators)
    return Evidence(axmodel, read_figures(lines), operators, tuple(findings))


def _operators(folder: Path, lines: Sequence[str], findings: list[str]) -> tuple[BuiltOperator, ...]:
    """Read the operators as built: from the table's file, the table in the log, or else the quantiser's record."""
    table, record = folder / PRECISION_TABLE, folder / QUANTIZATION_RECORD
    title = next((place for place, line in enumerate(lines) if _TABLE_TITLE in line), None)
    readers: list[Callable[[], tuple[BuiltOperator, ...]]] = []
    if table.is_file():
        readers.append(
            lambda: parse_precision_table(table.read_text(encoding="utf-8", errors="replace"), PRECISION_TABLE)
        )
    if title is not None:
        readers.append(lambda: parse_precision_table("\n".join(lines[title:]), "the build's log"))
    if record.is_file():
        readers.append(lambda: read_quantization(record, _graph(folder / QUANTIZED_GRAPH)))
    for reader in readers:
        try:
            return reader()
        except ConversionError as error:
            findings.append(f"the built precisions can't be read: {error}")
    return ()


def _precision_findings(
    folder: Path, model: onnx.ModelProto, config: BuildConfig, operators: Sequence[BuiltOperator]
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
    findings += _never_float(requests, model.graph)
    if not operators:
        return [*findings, "the build wrote no table of precisions, so what was asked of layer_configs is unchecked"]
    record = folder / QUANTIZATION_RECORD
    graph = _graph(folder / OPTIMIZED_GRAPH) or model.graph
    weights: Mapping[str, str] = {}
    if record.is_file():
        try:
            weights = read_weight_types(record, {tensor.name for tensor in graph.initializer})
        except ConversionError as error:
            findings.append(f"the types of weights can't be read: {error}")
    return findings + request_findings(requests, operators, graph, weights)


def _never_float(requests: Sequence[Any], graph: onnx.GraphProto) -> list[str]:
    """Name operator types that are asked to be float and that the documentation does not list for it."""
    kinds = {node.name: node.op_type for node in graph.node if node.name}
    findings = []
    for place, request in enumerate(requests):
        if request.data_type == "FP32":
            layers = [request.layer_name] if request.layer_name else request.layer_names or []
            asked = {kinds[name] for name in layers if name in kinds}
            asked.update([request.op_type] if request.op_type else request.op_types or [])
            if unknown := sorted(asked - FLOAT_OPS):
                findings.append(
                    f"layer_configs.{place}: FP32 is not documented for {', '.join(unknown)} "
                    f"(it is for {', '.join(sorted(FLOAT_OPS))})"
                )
    return findings


def _graph(path: Path) -> onnx.GraphProto | None:
    """Read a graph that the build left for debugging, without its weights; ``None`` if it can't be."""
    # protobuf's DecodeError has no typed home.
    try:
        return onnx.load(str(path), load_external_data=False).graph
    except Exception:
        return None
