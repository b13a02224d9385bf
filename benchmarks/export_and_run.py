"""Both forms of the spatial attention side by side: export, ONNX Runtime, memory, and whether they give the same.

    python -m benchmarks.export_and_run tiny small base --threads 2
    python -m benchmarks.export_and_run tiny small base --device cuda

The weights are random. Every stage runs in a process of its own, so that its peak memory is its own; where two
latencies are compared, the runs alternate in one process, so that a busy machine hits both. On a GPU (onnxruntime-gpu
and a torch with CUDA) its memory is meant, and copies to and from it count into the latency. Prints one Markdown table
per model; figures in docs/lean-graph.md.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import resource
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from bevformer_lib.config.load import load_model_config
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.export.clip import clip_frame
from bevformer_lib.export.graph import graph_inputs, static_shape
from bevformer_lib.export.intermediate_outputs import intermediate_names
from bevformer_lib.fidelity import relative_difference
from bevformer_lib.names import INPUT_CAN_BUS, INPUT_IMG, INPUT_LIDAR2IMG, INPUT_PREV_BEV
from bevformer_lib.runtime.onnxruntime import OnnxRuntime

FORMS: Final = ("dense", "visible")
MAX_RELATIVE_DIFFERENCE: Final = 1e-4
"""Of any output, norm over norm; the export's own parity check keeps the same bound."""

Feed = dict[str, NDArray[Any]]

_SEED: Final = 0
_MIB: Final = 1024
_SAMPLE_S: Final = 0.005


def encoder_graph(graph: onnx.ModelProto, config: ModelConfig) -> onnx.ModelProto:
    """Cut the BEV encoder out of a graph: from the FPN's levels and the frame's geometry to the last layer's BEV."""
    levels = [name for name in intermediate_names(config) if name.startswith("fpn.")]
    layers = [name for name in intermediate_names(config) if name.startswith("encoder.")]
    inputs = [*levels, INPUT_CAN_BUS, INPUT_LIDAR2IMG, INPUT_PREV_BEV]
    return onnx.utils.Extractor(graph).extract_model(inputs, layers[-1:])


def full_feed(config: ModelConfig) -> Feed:
    """Return a synthetic frame with a history: smooth noise, cameras around a car that drives a curve."""
    frame = clip_frame(config, 1, seed=_SEED)
    history = np.random.default_rng(_SEED).standard_normal((config.num_bev_cells, 1, config.embed_dims))
    return {
        INPUT_IMG: frame.img,
        INPUT_CAN_BUS: frame.can_bus,
        INPUT_LIDAR2IMG: frame.lidar2img,
        INPUT_PREV_BEV: history.astype(np.float32),
    }


def encoder_feed(graph: onnx.ModelProto, config: ModelConfig) -> Feed:
    """Return the same frame for the cut encoder, with normally distributed features."""
    given, generator = full_feed(config), np.random.default_rng(_SEED)
    return {
        value.name: given[value.name]
        if value.name in given
        else generator.standard_normal(static_shape(value)).astype(np.float32)
        for value in graph_inputs(graph.graph)
    }


def alternate(runtimes: Sequence[OnnxRuntime], feed: Feed, rounds: int) -> tuple[list[float], list[Feed]]:
    """Run several graphs in turns; return each one's shortest time in seconds, without the first, and its outputs."""
    seconds: list[list[float]] = [[] for _ in runtimes]
    outputs: list[Feed] = [{} for _ in runtimes]
    for _ in range(rounds + 1):
        for index, runtime in enumerate(runtimes):
            started = time.perf_counter()
            outputs[index] = runtime.run(feed)
            seconds[index].append(time.perf_counter() - started)
    return [min(one[1:]) for one in seconds], outputs


def largest_difference(dense: Feed, lean: Feed) -> float:
    """Return the largest relative difference of all outputs.

    Raises:
        AssertionError: it is too large: the two forms are not the same model.
    """
    worst = max(relative_difference(lean[name], reference) for name, reference in dense.items())
    assert worst <= MAX_RELATIVE_DIFFERENCE, f"the forms differ by {worst:.1e}"
    return worst


def stage_export(config: ModelConfig, form: str, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Export with the parity check, and cut the encoder out."""
    from bevformer_lib.export.onnx_export import export_onnx

    started = time.perf_counter()
    result = export_onnx(
        config,
        folder / "weights.pth",
        folder / f"{form}.onnx",
        spatial=form,  # type: ignore[arg-type]
        geometry="graph",
    )
    seconds = time.perf_counter() - started
    figures = {f"export: {stage}, s": value for stage, value in result.seconds.items()}
    figures |= {"export: all, s": seconds, "export: peak memory, MiB": _peak_mib()}
    onnx.save(encoder_graph(onnx.load(str(result.output)), config), str(folder / f"{form}_encoder.onnx"))
    return figures


def stage_memory(config: ModelConfig, form: str, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Return by how much two runs of the whole graph raise the memory of a process that has loaded it."""
    runtime = _open(folder / f"{form}.onnx", arguments)
    return {"whole graph: activation memory, MiB": _raised_mib(runtime, full_feed(config), arguments.device)}


def stage_encoder_memory(
    config: ModelConfig, form: str, folder: Path, arguments: argparse.Namespace
) -> dict[str, float]:
    """Return the same for the encoder alone."""
    path = folder / f"{form}_encoder.onnx"
    feed = encoder_feed(onnx.load(str(path)), config)
    return {"encoder: activation memory, MiB": _raised_mib(_open(path, arguments), feed, arguments.device)}


def stage_latency(config: ModelConfig, form: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare both forms of the graph or, with ``_encoder`` for the form, of the encoder."""
    paths = [folder / f"{one}{form}.onnx" for one in FORMS]
    feed = encoder_feed(onnx.load(str(paths[0])), config) if form else full_feed(config)
    runtimes = [_open(path, arguments) for path in paths]
    seconds, outputs = alternate(runtimes, feed, arguments.rounds)
    return {"seconds": dict(zip(FORMS, seconds, strict=True)), "difference": largest_difference(*outputs)}


_STAGES: Final = {
    "export": stage_export,
    "memory": stage_memory,
    "encoder-memory": stage_encoder_memory,
    "latency": stage_latency,
}


def compare(model: str, arguments: argparse.Namespace) -> str:
    """Measure a model and return its table."""
    from bevformer_lib.model.checkpoint import make_checkpoint

    config = load_model_config(model)
    figures: dict[str, dict[str, float]] = {form: {} for form in FORMS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_checkpoint(config, folder / "weights.pth", seed=_SEED)
        gc.collect()
        for form in FORMS:
            for stage in ("export", "memory", "encoder-memory"):
                figures[form] |= _in_a_child(stage, model, form, folder, arguments)
        whole = _in_a_child("latency", model, "", folder, arguments)
        encoder = _in_a_child("latency", model, "_encoder", folder, arguments)
    for form in FORMS:
        figures[form]["whole graph: latency, s"] = whole["seconds"][form]
        figures[form]["encoder: latency, s"] = encoder["seconds"][form]
    differences = f"Largest relative difference: whole graph {whole['difference']:.1e}, "
    return f"{table(model, figures)}\n\n{differences}encoder {encoder['difference']:.1e}.\n"


def table(model: str, figures: Mapping[str, Mapping[str, float]]) -> str:
    """Return the Markdown table of both forms' figures and their ratio."""
    dense, lean = (figures[form] for form in FORMS)
    rows = [f"| {model}, random weights | dense | visible | dense / visible |", "| --- | --- | --- | --- |"]
    rows += [f"| {name} | {dense[name]:.4g} | {lean[name]:.4g} | {dense[name] / lean[name]:.2f} |" for name in dense]
    return "\n".join(rows)


def main(given: Sequence[str] | None = None) -> None:
    """Run the benchmark, or one of its stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["tiny", "small", "base"], help="preset names or config files")
    parser.add_argument("--rounds", type=int, default=5, help="measured runs; the shortest counts")
    parser.add_argument("--threads", type=int, default=None, help="threads of ONNX Runtime; one per core if left out")
    parser.add_argument("--device", default="cpu", help="where the graphs run: cpu, cuda or cuda:N")
    parser.add_argument("--stage", nargs=3, metavar=("STAGE", "FORM", "FOLDER"), help="used by the benchmark itself")
    arguments = parser.parse_args(given)
    if arguments.stage:
        stage, form, folder = arguments.stage
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        config = load_model_config(arguments.models[0])
        print(json.dumps(_STAGES[stage](config, form, Path(folder), arguments)))
        return
    for model in arguments.models:
        print(compare(model, arguments), flush=True)


def _in_a_child(stage: str, model: str, form: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.export_and_run", model, "--rounds", str(arguments.rounds)]
    command += ["--device", arguments.device]
    command += [] if arguments.threads is None else ["--threads", str(arguments.threads)]
    print(f"{model} {form.strip('_')} {stage} ...", file=sys.stderr, flush=True)
    done = subprocess.run([*command, "--stage", stage, form, str(folder)], stdout=subprocess.PIPE, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _open(path: Path, arguments: argparse.Namespace) -> OnnxRuntime:
    return OnnxRuntime(path, device=arguments.device, threads=arguments.threads)


def _raised_mib(runtime: OnnxRuntime, feed: Feed, device: str) -> float:
    """Return by how much memory rises over two runs; loading, which takes more, is over by then."""
    used_mib = _resident_mib if device == "cpu" else partial(_used_on_gpu_mib, device)
    gc.collect()
    before = highest = used_mib()
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(_SAMPLE_S):
            highest = max(highest, used_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(2):
        runtime.run(feed)
    done.set()
    watcher.join()
    return max(highest, used_mib()) - before


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / _MIB / _MIB


def _used_on_gpu_mib(device: str) -> float:
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return (total - free) / _MIB / _MIB


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB


if __name__ == "__main__":
    main()
