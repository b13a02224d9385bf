"""Small graphs through the emulator, and the rules again in plain numpy, to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bevformer_lib.emulator.emulate import EmulatedGraph, EmulationConfig, emulate
from bevformer_lib.pulsar2.build_config import LayerConfig
from bevformer_lib.runtime.onnxruntime import OnnxRuntime

Feed = Mapping[str, NDArray[np.float32]]


def run_graph(model: onnx.ModelProto, feed: Feed, folder: Path) -> dict[str, NDArray[Any]]:
    path = folder / "graph.onnx"
    onnx.save(model, path)
    return OnnxRuntime(path, threads=1).run(feed)


def emulated(
    model: onnx.ModelProto, samples: Sequence[Feed], *requests: dict[str, Any], **settings: Any
) -> EmulatedGraph:
    for place, node in enumerate(model.graph.node):
        node.name = node.name or f"node{place}"
    config = EmulationConfig(tuple(LayerConfig(**request) for request in requests), **settings)
    return emulate(model, samples, config, threads=1)


def random(*shape: int, seed: int = 0, low: float = -1.0, high: float = 3.0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def u8(values: NDArray[np.float32], *spanned: NDArray[np.float32], levels: int = 255) -> NDArray[np.float32]:
    """Values rounded asymmetrically, over the range of ``spanned`` (left out: their own)."""
    all_values = np.concatenate([array.ravel() for array in spanned or (values,)])
    low, high = np.float32(min(all_values.min(), 0)), np.float32(max(all_values.max(), 0))
    scale = np.float32((float(high) - float(low)) / levels)
    zero = np.clip(np.rint(-float(low) / float(scale)), 0, levels)
    codes = np.clip(np.rint(values / scale) + zero, 0, levels)
    return ((codes - zero) * scale).astype(np.float32)


def u16(values: NDArray[np.float32], *spanned: NDArray[np.float32]) -> NDArray[np.float32]:
    return u8(values, *spanned, levels=65535)


def s8(values: NDArray[np.float32], *spanned: NDArray[np.float32], half: float = 127.5) -> NDArray[np.float32]:
    """Values rounded symmetrically."""
    largest = np.float32(max(np.abs(array).max() for array in spanned or (values,)))
    scale = np.float32(largest / np.float32(half))
    codes = np.clip(np.rint(values / scale), -int(half + 0.5), int(half))
    return (codes * scale).astype(np.float32)


def s8_per_channel(weight: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    moved = np.moveaxis(weight, axis, 0)
    rounded = [s8(channel) if channel.any() else channel for channel in moved]
    return np.moveaxis(np.stack(rounded), 0, axis)
