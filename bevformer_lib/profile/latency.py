"""Time per operator type in ONNX Runtime, by its own profiler."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from bevformer_lib.errors import ExportError
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.scratch import temporary_folder

_KERNEL_SUFFIX: Final = "_kernel_time"


@dataclass(frozen=True)
class OperatorTime:
    """What one operator type took in one run, on average.

    Attributes:
        operator: as ONNX Runtime executes it: after its own rewrites, which join some and insert others.
        milliseconds: all of them together.
    """

    operator: str
    nodes: int
    milliseconds: float


@dataclass(frozen=True)
class Latency:
    """What running a graph took.

    Attributes:
        runs: measured runs, after one that is not.
        median_ms: median wall-clock time of a run, with the profiler on, in milliseconds.
        operators: the slowest first.
    """

    runs: int
    median_ms: float
    operators: tuple[OperatorTime, ...]


def measure_latency(
    model: Path,
    feed: Mapping[str, NDArray[Any]],
    *,
    runs: int,
    device: str = "cpu",
    threads: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> Latency:
    """Run a graph under ONNX Runtime's profiler.

    Args:
        model: the ``.onnx`` file.
        feed: its inputs.
        runs: how often to measure.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: threads inside an operator; ``None``: one per physical core.
        on_progress: told after every run.

    Raises:
        RuntimeUnavailableError: ONNX Runtime is not installed, or can't load the graph there.
        ExportError: it can't run the graph with such inputs.
    """
    with temporary_folder() as folder:
        runtime = OnnxRuntime(model, device=device, threads=threads, profile_prefix=folder / "onnxruntime")
        seconds = []
        for run in range(runs + 1):
            started = time.perf_counter()
            try:
                runtime.run(feed)
            except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
                raise ExportError(
                    f"{model}: ONNX Runtime can't run it with synthetic inputs ({error}); "
                    "`--runs 0` prints what follows from the graph alone"
                ) from error
            seconds.append(time.perf_counter() - started)
            on_progress("profile: run", run + 1, runs + 1)
        events = json.loads(runtime.end_profiling().read_text(encoding="utf-8"))
    return Latency(runs, statistics.median(seconds[1:]) * 1e3, operator_times(events, runs=runs))


def operator_times(events: list[dict[str, Any]], *, runs: int) -> tuple[OperatorTime, ...]:
    """Sum a profile by operator type, without its first run.

    Args:
        events: what ONNX Runtime's profiler wrote, in microseconds.
        runs: runs after the first.
    """
    kernels: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL_SUFFIX):
            # Nodes may be unnamed.
            kernels.setdefault((event["name"], event["args"]["node_index"]), []).append(event)
    milliseconds: dict[str, float] = {}
    nodes: dict[str, int] = {}
    for executions in kernels.values():
        operator = executions[0]["args"]["op_name"]
        measured = sorted(executions, key=lambda event: event["ts"])[-runs:]
        milliseconds[operator] = milliseconds.get(operator, 0.0) + sum(event["dur"] for event in measured) / runs / 1e3
        nodes[operator] = nodes.get(operator, 0) + 1
    slowest = sorted(milliseconds, key=lambda operator: -milliseconds[operator])
    return tuple(OperatorTime(operator, nodes[operator], milliseconds[operator]) for operator in slowest)
