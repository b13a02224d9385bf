"""A graph file that goes through some of the passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import onnx

from bevformer_lib.convert.base import FLOAT_MODEL_SHA256, PTQ_PASSES
from bevformer_lib.convert.float_model import float_model_sha256, load_float_model, read_calibration_for
from bevformer_lib.convert.ranges import SampleRuns
from bevformer_lib.errors import ConversionError
from bevformer_lib.files import atomic_path, require_writable_file
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.ptq.names import DEFAULT_PASSES, PASSES, as_they_run

PassFacts: TypeAlias = Mapping[str, Any]
Pass: TypeAlias = Callable[..., tuple[onnx.ModelProto, PassFacts]]


def apply_passes(
    graph: Path,
    calibration: Path,
    output: Path,
    *,
    passes: Sequence[str] = DEFAULT_PASSES,
    device: str = "cpu",
    threads: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> dict[str, PassFacts]:
    """Write a float graph that went through passes, and say in its metadata which graph stands behind it.

    Args:
        graph: the float graph.
        calibration: folder with the archives of the calibration set.
        output: the graph to write.
        passes: names of :data:`PASSES`; they run in that order, whatever the order given.
        device: where ONNX Runtime runs the graph.
        threads: threads inside an operator, or ``None``.
        on_progress: called for every sample.

    Raises:
        ConversionError: a pass is not known or was applied before, the graph can't be read or does not fit the
            calibration set, or nothing can be written.
        CalibrationError: the calibration set is broken.
        OutputError: nothing can be written there.
        RuntimeUnavailableError: ONNX Runtime is not installed, or has no such device.
    """
    if unknown := [name for name in passes if name not in PASSES]:
        raise ConversionError(f"no pass is named {unknown[0]!r}; there are: {', '.join(PASSES)}")
    model = load_float_model(graph)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    if properties.get(PTQ_PASSES):
        raise ConversionError(f"{graph}: went through {properties[PTQ_PASSES]} already; give the graph before it")
    if output.resolve() == graph.resolve():
        raise ConversionError(f"{output}: is the float model itself; give another output")
    require_writable_file(output)
    samples = read_calibration_for(model, graph, calibration)
    runs = SampleRuns(samples, samples.num_samples, device, threads, on_progress)
    origin = float_model_sha256(model, graph)
    facts: dict[str, PassFacts] = {}
    for name in as_they_run(passes):
        run: Pass = import_module(PASSES[name]).apply
        model, facts[name] = run(model, runs)
    onnx.helper.set_model_props(model, {**properties, FLOAT_MODEL_SHA256: origin, PTQ_PASSES: ", ".join(facts)})
    with atomic_path(output) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
    return facts
