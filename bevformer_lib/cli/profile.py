"""`bevformer profile`: what an ONNX graph costs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bevformer_lib.cli.options import Device, Runs, Threads

if TYPE_CHECKING:
    from rich.table import Table

    from bevformer_lib.profile.latency import Latency
    from bevformer_lib.profile.profile import GraphCost
    from bevformer_lib.profile.steps import TensorStep
    from bevformer_lib.progress import ProgressCallback

_MIB = 1024 * 1024
_SHOWN = 3


def command(
    model: Path,
    /,
    *,
    runs: Runs = 3,
    calibration: Path | None = None,
    device: Device = "cpu",
    threads: Threads | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Print multiplications, parameters, memory, operator counts, and the time per operator type in ONNX Runtime.

    Args:
        model: the .onnx file.
        runs: measured runs, after one that is not; 0 runs nothing and prints what follows from the graph alone.
        calibration: folder with the archives of prepare-calibration: prints the tensors too whose step in eight bits
            is coarse for what their values mean.
        device: where to run: cpu, cuda or cuda:N.
        threads: threads inside an operator; left out: one per physical core.
        as_json: print one JSON object instead of tables.
    """
    from rich.console import Console

    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.config.host_geometry import HostGeometryConfig
    from bevformer_lib.errors import ExportError
    from bevformer_lib.export.lint.run import read_graph
    from bevformer_lib.export.made_up_feed import made_up_feed
    from bevformer_lib.profile.latency import measure_latency
    from bevformer_lib.profile.profile import graph_cost

    graph = read_graph(model)
    try:
        cost = graph_cost(graph)
        properties = {entry.key: entry.value for entry in graph.metadata_props}
        geometry = HostGeometryConfig.from_metadata(properties, source=str(model))
        feed = made_up_feed(graph.graph, geometry) if runs > 0 else {}
    except ExportError as error:
        raise ExportError(f"{model}: {error}") from None
    del graph
    latency = None
    if runs > 0:
        with progress_bar() as on_progress:
            latency = measure_latency(model, feed, runs=runs, device=device, threads=threads, on_progress=on_progress)
    steps: tuple[TensorStep, ...] = ()
    if calibration is not None:
        with progress_bar() as on_progress:
            steps = _steps(model, calibration, device, threads, on_progress)
    if as_json:
        content = {
            "model": str(model),
            "device": device,
            "cost": asdict(cost),
            "latency": None if latency is None else asdict(latency),
            **({} if calibration is None else {"steps": [{**asdict(step), "wide": step.is_wide} for step in steps]}),
        }
        sys.stdout.write(json.dumps(content, indent=1) + "\n")
        return
    console = Console()
    console.print(cost_table(cost, title=str(model)))
    console.print(operator_table(cost))
    if latency is not None:
        console.print(latency_table(latency, device))
    if calibration is not None:
        console.print(step_table(steps))


def _steps(
    model: Path, calibration: Path, device: str, threads: int | None, on_progress: ProgressCallback
) -> tuple[TensorStep, ...]:
    from bevformer_lib.convert.float_model import load_float_model, read_calibration_for
    from bevformer_lib.convert.ranges import SampleRuns
    from bevformer_lib.profile.steps import tensor_steps

    graph = load_float_model(model)
    samples = read_calibration_for(graph, model, calibration)
    return tensor_steps(graph, SampleRuns(samples, samples.num_samples, device, threads, on_progress))


def step_table(steps: Sequence[TensorStep]) -> Table:
    """Return a row per tensor that is too wide for eight bits, the widest first."""
    from rich.table import Table

    table = Table("too wide for eight bits", "made by")
    for column in ("lowest", "highest", "step", "is", "with 16 bits"):
        table.add_column(column, justify="right")
    wide = [step for step in steps if step.is_wide]
    for step in wide:
        table.add_row(
            step.name,
            step.made_by,
            f"{step.lowest:,.4g}",
            f"{step.highest:,.4g}",
            f"{step.step:,.3g}",
            f"{step.step_in_units:,.3g} {step.unit}",
            f"{step.step_in_units_u16:,.2g}",
        )
    table.caption = f"{len(wide)} of {len(steps)} tensors; pixels of the map that is sampled, or standard deviations"
    return table


def cost_table(cost: GraphCost, *, title: str) -> Table:
    """Return the totals of a graph."""
    from rich.table import Table

    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("nodes", f"{sum(operator.nodes for operator in cost.operators):,}")
    table.add_row("MACs", f"{cost.macs / 1e9:,.3f} G")
    if cost.not_counted:
        table.add_row("not counted", ", ".join(cost.not_counted))
    table.add_row("parameters", f"{cost.parameters / 1e6:,.3f} M ({cost.parameter_bytes / _MIB:,.1f} MiB)")
    table.add_row("activations, peak", f"{cost.activations.peak_bytes / _MIB:,.1f} MiB at {cost.activations.peak_node}")
    if cost.unknown:
        shown = ", ".join(cost.unknown[:_SHOWN]) + (", ..." if len(cost.unknown) > _SHOWN else "")
        table.add_row("at least, without", f"{len(cost.unknown)} tensors of unknown shape: {shown}")
    table.add_row("activations, sum", f"{cost.activations.total_bytes / _MIB:,.1f} MiB")
    return table


def operator_table(cost: GraphCost) -> Table:
    """Return a row per operator type of the graph."""
    from rich.table import Table

    table = Table("operator in the file")
    for column in ("nodes", "MACs, M", "share", "writes, MiB"):
        table.add_column(column, justify="right")
    for operator in cost.operators:
        share = f"{operator.macs / cost.macs:.1%}" if cost.macs else ""
        macs = (f"{operator.macs / 1e6:,.3f}", share) if operator.macs else ("", "")
        table.add_row(operator.operator, str(operator.nodes), *macs, f"{operator.output_bytes / _MIB:,.2f}")
    return table


def latency_table(latency: Latency, device: str) -> Table:
    """Return a row per operator type as executed."""
    from rich.table import Table

    table = Table("operator as executed")
    for column in ("nodes", "ms per run", "share"):
        table.add_column(column, justify="right")
    total = sum(operator.milliseconds for operator in latency.operators)
    for operator in latency.operators:
        share = f"{operator.milliseconds / total:.1%}" if total else ""
        table.add_row(operator.operator, str(operator.nodes), f"{operator.milliseconds:,.3f}", share)
    table.caption = f"{device}: {latency.median_ms:,.1f} ms a run (median of {latency.runs}, profiler on)"
    return table
