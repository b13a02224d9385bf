"""PyTorch's two ONNX exporters on the micro models, each in a process of its own.

    python -m benchmarks.exporters

The graph-based one (``dynamo=True``) needs onnxscript, which the product does not. Prints one Markdown row per model
and exporter: the figures of docs/exporter-choice.md.
"""

from __future__ import annotations

import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, Final

_MODELS: Final = ("tiny", "base")
_EXPORTERS: Final[dict[str, bool]] = {"TorchScript": False, "dynamo": True}
_HEADER: Final = (
    "model",
    "exporter",
    "seconds",
    "peak memory, MiB",
    "operator set asked / got",
    "nodes, raw",
    "off the AX650 list, raw",
    "nodes after the passes",
    "findings after the passes",
    "worst output, relative difference",
)


def measure(model_name: str, *, dynamo: bool) -> dict[str, Any]:
    """Export a micro model once and describe the graph."""
    import onnx
    import torch

    from bevformer_lib.export.chip import DEFAULT_CHIP, load_chip
    from bevformer_lib.export.clip import clip_frame
    from bevformer_lib.export.graph import OPSET, default_opset
    from bevformer_lib.export.lint.run import lint
    from bevformer_lib.export.passes.pipeline import run_passes
    from bevformer_lib.fidelity import relative_difference
    from bevformer_lib.names import INPUT_NAMES, OUTPUT_NAMES
    from bevformer_lib.runtime.onnxruntime import OnnxRuntime
    from tests.export.models import MICRO_CONFIGS, random_model

    torch.set_num_threads(1)
    config = MICRO_CONFIGS[model_name]()
    model = random_model(config)
    frame = clip_frame(config, 1, seed=0)
    history = torch.randn(config.num_bev_cells, 1, config.embed_dims, generator=torch.Generator().manual_seed(0))
    inputs = (*(torch.from_numpy(array) for array in (frame.img, frame.can_bus, frame.lidar2img)), history)
    chip = load_chip(DEFAULT_CHIP)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "raw.onnx"
        started = time.perf_counter()
        with torch.no_grad():
            torch.onnx.export(
                model,
                inputs,
                str(path),
                dynamo=dynamo,
                opset_version=OPSET,
                input_names=list(INPUT_NAMES),
                output_names=list(OUTPUT_NAMES),
                **({"external_data": False, "verbose": False} if dynamo else {}),
            )
        seconds = time.perf_counter() - started
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        raw = onnx.load(str(path))
        graph, _ = run_passes(raw)
        onnx.save(graph, str(path))
        feed = {name: tensor.numpy() for name, tensor in zip(INPUT_NAMES, inputs, strict=True)}
        given = OnnxRuntime(path, threads=1).run(feed)
        with torch.inference_mode():
            expected = dict(zip(OUTPUT_NAMES, model(*inputs), strict=True))
    worst = max(relative_difference(given[name], expected[name].numpy()) for name in OUTPUT_NAMES)
    unlisted = Counter(node.op_type for node in raw.graph.node if node.op_type not in (chip.operators or ()))
    return {
        "seconds": f"{seconds:.1f}",
        "peak memory, MiB": f"{peak_mib:.0f}",
        "operator set asked / got": f"{OPSET} / {default_opset(raw)}",
        "nodes, raw": len(raw.graph.node),
        "off the AX650 list, raw": ", ".join(f"{count} {name}" for name, count in unlisted.items()) or "none",
        "nodes after the passes": len(graph.graph.node),
        "findings after the passes": len(lint(graph, chip).findings),
        "worst output, relative difference": f"{worst:.1e}",
    }


def main() -> None:
    """Measure every model with every exporter and print the table."""
    print("| " + " | ".join(_HEADER) + " |")
    print("|" + " --- |" * len(_HEADER))
    for model in _MODELS:
        for exporter in _EXPORTERS:
            done = subprocess.run(
                [sys.executable, "-m", __spec__.name, model, exporter], stdout=subprocess.PIPE, check=True
            )
            row = json.loads(done.stdout.splitlines()[-1])
            print("| " + " | ".join(str(cell) for cell in (model, exporter, *row.values())) + " |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        print(json.dumps(measure(sys.argv[1], dynamo=_EXPORTERS[sys.argv[2]])))
    else:
        main()
