"""Both forms of the spatial attention on a GPU, in PyTorch.

    python -m benchmarks.gpu tiny small base --rounds 20

Needs torch and numpy and nothing else but this repository. The weights are random, TF32 is off, and the two forms must
give the same. Prints Markdown. The graphs in ONNX Runtime: :mod:`benchmarks.export_and_run` with ``--device cuda``.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.config.presets import PRESETS
from bevformer_lib.geometry.surround_cameras import surround_cameras
from bevformer_lib.model.bevformer import BEVFormer, build_model
from bevformer_lib.model.camera_sampling import CameraSampling, DenseSampling, VisibleCameraSampling
from bevformer_lib.model.random_weights import randomize
from bevformer_lib.names import CAN_BUS_SIZE, CAN_BUS_YAW_DEG, CAN_BUS_YAW_RAD

FORMS: Final[Mapping[str, CameraSampling]] = {"dense": DenseSampling(), "visible": VisibleCameraSampling(2)}
MAX_RELATIVE_DIFFERENCE: Final = 1e-4

_SEED: Final = 0
_WARM_UP: Final = 3
_MIB: Final = 1024 * 1024

Figures = dict[str, float]


def made_up_inputs(config: ModelConfig, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return (img, can_bus, lidar2img, prev_bev) of a car that drives a curve past noise."""
    generator = torch.Generator().manual_seed(_SEED)
    can_bus = torch.zeros(1, CAN_BUS_SIZE)
    can_bus[0, 0], can_bus[0, CAN_BUS_YAW_RAD], can_bus[0, CAN_BUS_YAW_DEG] = 4.0, math.radians(209.0), 9.0
    camera_calibration = surround_cameras(config.num_cams, config.image_hw).astype(np.float32)
    img = torch.randn(1, config.num_cams, 3, *config.image_hw, generator=generator)
    history = torch.randn(config.num_bev_cells, 1, config.embed_dims, generator=generator)
    return img.to(device), can_bus.to(device), torch.from_numpy(camera_calibration)[None].to(device), history.to(device)


def encoder_of(model: BEVFormer, inputs: Sequence[Tensor]) -> Callable[[], Tensor]:
    """Return a call of the BEV encoder alone, on the features of these inputs."""
    img, can_bus, lidar2img, history = inputs
    head = model.pts_bbox_head
    features = model.img_neck(model.img_backbone(img.flatten(0, 1)))
    query, position = head.bev_embedding.weight.unsqueeze(0), head.positional_encoding()
    return lambda: head.transformer.encode(features, query, position, can_bus, lidar2img, history)


def measure(run: Callable[[], Any], device: torch.device, rounds: int) -> tuple[float, float]:
    """Return the median time in ms and, on a GPU, by how many MiB a run raises the allocated memory (else nan)."""
    on_gpu = device.type == "cuda"
    milliseconds = []
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    for _ in range(_WARM_UP + rounds):
        started = time.perf_counter()
        run()
        if on_gpu:
            torch.cuda.synchronize(device)
        milliseconds.append((time.perf_counter() - started) * 1000)
    mib = (torch.cuda.max_memory_allocated(device) - before) / _MIB if on_gpu else math.nan
    return float(np.median(milliseconds[_WARM_UP:])), mib


def compare_in_pytorch(config: ModelConfig, device: torch.device, rounds: int) -> tuple[dict[str, Figures], float]:
    """Return every form's figures, and the largest relative difference of their outputs.

    Raises:
        AssertionError: the difference is too large: the forms are not the same model.
    """
    model = build_model(config)
    randomize(model, seed=_SEED)
    model.to(device)
    inputs = made_up_inputs(config, device)
    figures: dict[str, Figures] = {}
    outputs: dict[str, list[Tensor]] = {}
    with torch.inference_mode():
        encoder = encoder_of(model, inputs)
        for form, sampling in FORMS.items():
            model.use_sampling(sampling)
            outputs[form] = [output.cpu() for output in model(*inputs)]
            whole_ms, whole_mib = measure(lambda: model(*inputs), device, rounds)
            encoder_ms, encoder_mib = measure(encoder, device, rounds)
            figures[form] = {
                "PyTorch, whole model: latency, ms": whole_ms,
                "PyTorch, whole model: activation memory, MiB": whole_mib,
                "PyTorch, encoder: latency, ms": encoder_ms,
                "PyTorch, encoder: activation memory, MiB": encoder_mib,
            }
    return figures, largest_difference(outputs["dense"], outputs["visible"])


def largest_difference(dense: Sequence[Tensor], lean: Sequence[Tensor]) -> float:
    """Return the largest norm of the difference over norm, checked against the bound."""
    worst = max(float((a - b).norm() / a.norm()) for a, b in zip(dense, lean, strict=True))
    assert worst <= MAX_RELATIVE_DIFFERENCE, f"the forms differ by {worst:.1e}"
    return worst


def table(name: str, figures: Mapping[str, Figures]) -> str:
    """Return the Markdown table of both forms and their ratio."""
    dense, lean = figures["dense"], figures["visible"]
    rows = [f"| {name}, random weights | dense | visible | dense / visible |", "| --- | --- | --- | --- |"]
    rows += [f"| {row} | {dense[row]:.4g} | {lean[row]:.4g} | {dense[row] / lean[row]:.2f} |" for row in dense]
    return "\n".join(rows)


def main(given: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(PRESETS), help=f"of {', '.join(PRESETS)}; all if left out")
    parser.add_argument("--rounds", type=int, default=20, help="measured runs; the median counts")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try the benchmark itself")
    arguments = parser.parse_args(given)
    unknown = [name for name in arguments.models if name not in PRESETS]
    if unknown:
        parser.error(f"unknown models {', '.join(unknown)}; choose of {', '.join(PRESETS)}")
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("this torch has no CUDA device; see nvidia-smi and the torch build, or give --device cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    print(f"{_name_of(device)}, torch {torch.__version__}\n")
    for name in arguments.models:
        config = PRESETS[name]
        figures, difference = compare_in_pytorch(config, device, arguments.rounds)
        print(f"{table(name, figures)}\n\nLargest relative difference of any output: {difference:.1e}.\n", flush=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


if __name__ == "__main__":
    main()
