"""The rewrites for a graph that was made elsewhere, held against what the graph computed before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import onnx
from numpy.typing import NDArray

from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.errors import ExportError
from bevformer_lib.export.chip import load_chip
from bevformer_lib.export.graph import graph_inputs, static_shape
from bevformer_lib.export.lint.findings import LintReport
from bevformer_lib.export.lint.run import lint, read_graph
from bevformer_lib.export.made_up_feed import made_up_feed
from bevformer_lib.export.passes import simplify
from bevformer_lib.export.passes.pipeline import PASSES, GraphPass, PassReport, run_passes
from bevformer_lib.export.run_once import run_once
from bevformer_lib.fidelity import relative_difference
from bevformer_lib.files import atomic_path, require_writable_file
from bevformer_lib.progress import ProgressCallback, no_progress

TOLERANCE: Final = simplify.TOLERANCE
"""Largest norm of the difference over norm, per output and feed."""

_SEEDS: Final = (0, 1)
"""Of the feeds that both graphs are run with."""
_PASSES: Final[Mapping[str, GraphPass]] = {**PASSES, "simplify": partial(simplify.apply, compare_values=False)}
"""All of them together are compared with the graph as it was."""

_Outputs = Sequence[Mapping[str, NDArray[Any]]]


@dataclass(frozen=True)
class RepairResult:
    """What was made of a graph.

    Attributes:
        differences: output -> largest norm of the difference over norm, over all feeds.
        compared_from: the rewrite behind which ONNX Runtime could run the graph first, so that only what the later ones
            did was compared; empty where it could run the graph as it was given.
        lint_before: what the check for the chip finds in the graph as it was given.
        lint_after: what is left of that.
    """

    output: Path
    nodes_before: int
    nodes_after: int
    passes: tuple[PassReport, ...]
    differences: Mapping[str, float]
    compared_from: str
    lint_before: LintReport
    lint_after: LintReport


def repair_graph(
    path: Path,
    output: Path,
    *,
    target: str,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    on_progress: ProgressCallback = no_progress,
) -> RepairResult:
    """Run all rewrites on a graph, compare its outputs with those from before, and write it.

    Args:
        path: any ONNX graph; weights that it keeps in other files are read too, and written into the one.
        output: the ``.onnx`` file to write.
        target: the chip to check for.
        input_shapes: shapes of inputs that the graph leaves open.
        on_progress: called with the progress of the rewrites and of what is run.

    Raises:
        ExportError: the graph can't be read, an input's shape is not fixed, a rewrite failed or changed what the graph
            computes, or ONNX Runtime can run it neither before nor after; then nothing is written.
        OutputError: nothing can be written there.
    """
    if output.suffix != ".onnx":
        raise ExportError(f"{output}: name the graph to write with the suffix .onnx")
    require_writable_file(output)
    chip = load_chip(target)
    model = _load(path)
    try:
        _fix_inputs(model.graph, input_shapes or {})
        lint_before, nodes_before = lint(model, chip), len(model.graph.node)
        properties = {entry.key: entry.value for entry in model.metadata_props}
        geometry = HostGeometryConfig.from_metadata(properties, source=str(path))
        feeds = [made_up_feed(model.graph, geometry, seed=seed) for seed in _SEEDS]
        given, reference, model, compared_from, reports = _rewritten(model, feeds, on_progress)
        repaired, reason = _try_run(model, feeds)
        if repaired is None:
            guilty = _first_rewrite(given, feeds, lambda outputs: outputs is None)
            raise ExportError(f"{guilty} made a graph that can't be run, so nothing is written ({reason})")
        differences = _differences(reference, repaired)
        _require_same(differences, given, feeds, reference)
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from error
    with atomic_path(output) as file:
        onnx.save(model, str(file))
    return RepairResult(
        output=output,
        nodes_before=nodes_before,
        nodes_after=len(model.graph.node),
        passes=reports,
        differences=differences,
        compared_from=compared_from,
        lint_before=lint_before,
        lint_after=lint(model, chip),
    )


def _load(path: Path) -> onnx.ModelProto:
    model = read_graph(path)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ExportError(f"{path}: its weights in other files can't be read ({error}); copy them beside it") from error
    return model


def _fix_inputs(graph: onnx.GraphProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Declare, in place, the shapes of inputs that leave them open."""
    values = {value.name: value for value in graph_inputs(graph)}
    for name, shape in shapes.items():
        if name not in values:
            raise ExportError(f"has no input {name!r}, whose shape is given; its inputs are: {', '.join(values)}")
        dims = values[name].type.tensor_type.shape.dim
        stated = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
        if stated and (
            len(stated) != len(shape) or any(old not in (None, new) for old, new in zip(stated, shape, strict=True))
        ):
            raise ExportError(f"input {name!r} has the shape {_said(stated)}, which {_said(shape)} is none of")
        kind = values[name].type.tensor_type.elem_type
        values[name].CopyFrom(onnx.helper.make_tensor_value_info(name, kind, list(shape)))
    open_inputs = [value.name for value in values.values() if static_shape(value) is None]
    if open_inputs:
        raise ExportError(
            f"leaves the shape of {', '.join(map(repr, open_inputs))} open; give it, as in "
            f"--input-shape {open_inputs[0]}=1x3x480x800"
        )


def _said(shape: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)


def _rewritten(
    model: onnx.ModelProto, feeds: Sequence[Mapping[str, NDArray[Any]]], on_progress: ProgressCallback
) -> tuple[onnx.ModelProto, _Outputs, onnx.ModelProto, str, tuple[PassReport, ...]]:
    """Return the graph that could be run first with its outputs, the rewritten one, and how it came about."""
    reference, reason = _try_run(model, feeds)
    given, compared_from = model, ""
    reports: list[PassReport] = []
    for number, (name, apply) in enumerate(_PASSES.items(), start=1):
        model, [report] = run_passes(model, {name: apply})
        reports.append(report)
        if reference is None and report.changed:
            reference, reason = _try_run(model, feeds)
            given, compared_from = model, name
        on_progress("graph passes", number, len(_PASSES))
    if reference is None:
        raise ExportError(f"nothing shows what the graph computes, neither as it is nor rewritten ({reason})")
    return given, reference, model, compared_from, tuple(reports)


def _try_run(model: onnx.ModelProto, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> tuple[_Outputs | None, str]:
    try:
        return _run(model, feeds), ""
    except ExportError as error:
        return None, str(error)


def _run(model: onnx.ModelProto, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> _Outputs:
    return [run_once(model, feed) for feed in feeds]


def _differences(reference: _Outputs, given: _Outputs) -> dict[str, float]:
    """Return how far each output is off, over all feeds; infinity where its shape is another."""
    return {
        name: max(
            relative_difference(outputs[name], expected[name])
            if outputs[name].shape == expected[name].shape
            else float("inf")
            for outputs, expected in zip(given, reference, strict=True)
        )
        for name in reference[0]
    }


def _require_same(
    differences: Mapping[str, float],
    given: onnx.ModelProto,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    reference: _Outputs,
) -> None:
    """Raise where an output changed, and name the first rewrite behind which it did."""
    changed = {name: value for name, value in differences.items() if not value <= TOLERANCE}
    if not changed:
        return
    name, difference = next(iter(changed.items()))
    guilty = _first_rewrite(
        given,
        feeds,
        lambda outputs: outputs is not None and not _differences(reference, outputs)[name] <= TOLERANCE,
    )
    raise ExportError(
        f"the rewrites changed output {name!r}: relative difference {difference:.2e}, at most {TOLERANCE:.0e} is "
        f"allowed; {guilty} changed it, so nothing is written"
    )


def _first_rewrite(
    given: onnx.ModelProto,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    is_wrong: Callable[[_Outputs | None], bool],
) -> str:
    """Return, as a subject, the first rewrite behind which the outputs (``None``: it can't be run) are wrong."""
    model = given
    for name, apply in _PASSES.items():
        model, [report] = run_passes(model, {name: apply})
        if report.changed and is_wrong(_try_run(model, feeds)[0]):
            return f"{name} is the first that"
    return "together they"
